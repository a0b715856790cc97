// SPDX-License-Identifier: Apache-2.0
// A disk that can lose power. While it records, every call of the process that changes files below one
// directory is carried out and written to one log: those of the store's own files and those of SQLite, since
// both call the C library's functions, which disk.c defines again. From any position of the log the files can
// be made as a power loss may leave them: what was synced is there; of what was not, anything may be, whole,
// in part or not at all.
#ifndef BERTH_CRASH_DISK_H
#define BERTH_CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Lies that a disk or a program could tell, each of which must be found out.
enum disk_lie {
    DISK_HONEST,
    DISK_LOG_NOT_SYNCED,       // syncs of SQLite's log do nothing
    DISK_DATA_NOT_SYNCED,      // of data files
    DISK_DIRECTORY_NOT_SYNCED, // of directories
    DISK_NUMBERS_NOT_SYNCED,   // of the file of numbers handed out
    DISK_CUTS_NOT_MADE,        // while a store recovers, nothing is cut back
};

enum disk_policy {
    DISK_KEEP_ALL, // the process died, the machine did not
    DISK_LOSE_ALL, // what was not synced
    DISK_DRAW,     // by chance for each call: kept, lost, or kept in sectors
};

// Everything below `directory` is durable now, and what follows is recorded.
void disk_record(const char *directory, enum disk_lie lie);
void disk_stop(void);
void disk_forget(void);

size_t disk_log_length(void);
// Writes the files as of log position `at` to `directory`, which must not exist. `random` answers 0 .. n - 1.
void disk_materialize(const char *directory, size_t at, enum disk_policy policy,
                      uint64_t (*random)(uint64_t n));
// What the lie does while a store recovers.
void disk_lie_in_recovery(enum disk_lie lie);
// The n-th call from now on that changes a file (1 is the next) fails with this errno, or, for writes, is cut
// short when error is 0. 0: none.
void disk_fail(size_t n, int error);
bool disk_fault_happened(void); // since disk_fail()
bool disk_sync_failed(void);    // the failing call was a sync

#endif
