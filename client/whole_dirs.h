// SPDX-License-Identifier: Apache-2.0
// Directories of which the daemon knows all names, because this client made them or has listed them from
// beginning to end: a name that is not among those is not there, and nobody needs to be asked. Pure; owner
// thread.
//
// A set counts while WIRE_LEASE_NAME is held on the directory, which node->lease tells. It has hashes: one
// for each name, as often as names share one. Invariant: a hash is in a set at least as often as there are
// names of that hash in the directory, as the server has it or is about to; more often when it is not known
// whether a name is there. So a name is put in before the call that makes it is sent, and taken out when the
// call that removes it has been answered.
#ifndef BERTH_CLIENT_WHOLE_DIRS_H
#define BERTH_CLIENT_WHOLE_DIRS_H

#include "fs/base/env.h"
#include "fs/base/list.h"
#include "fs/base/siphash.h"
#include "fs/base/table.h"
#include "fs/types.h"

#define WHOLE_DIRS_MAX      16384u   // the least recently used go
#define WHOLE_NAMES_MAX     1048576u // of all; a name takes 5 to 11 bytes
#define WHOLE_NAMES_PER_DIR 262144u
#define WHOLE_UNKNOWN_MAX   1024u // names of one directory that may be there or not

struct whole_dirs {
    struct table by_id; // struct whole_dir; key: node id
    struct list order;  // least recently used first
    size_t n_names;
    uint64_t last_serial;
    uint8_t key[SIPHASH_KEY_SIZE];
};

void whole_init(struct whole_dirs *dirs, const struct env *env);
void whole_free(struct whole_dirs *dirs);

// --- what makes a directory known whole ---

// It was just made, and is empty.
void whole_made(struct whole_dirs *dirs, uint64_t id);
// A page of a listing has come: from after `cookie`, through the open `open_id`; each of its names, then its
// end. Only pages that follow each other from the first to the last count, with nothing between them that
// changes the directory. False: it does not count.
bool whole_page(struct whole_dirs *dirs, uint64_t id, uint64_t open_id, uint64_t cookie);
void whole_page_name(struct whole_dirs *dirs, uint64_t id, struct fs_name name);
void whole_page_end(struct whole_dirs *dirs, uint64_t id, uint64_t cookie, bool is_last);

// --- what is known ---

// True: there is no such name.
bool whole_lacks(struct whole_dirs *dirs, uint64_t id, struct fs_name name);

// --- what changes it ---

// A name of a directory in a call of our own that makes or removes it.
struct whole_change {
    uint64_t id;     // the directory's; 0: none
    uint64_t serial; // of its set when the call was sent, 0: there was none
    uint32_t hash;
    bool makes;
};

enum whole_outcome {
    WHOLE_DONE,    // the name was made or removed
    WHOLE_NOTHING, // it was there before, or stays there
    WHOLE_UNKNOWN,
};

struct whole_change whole_begin(struct whole_dirs *dirs, uint64_t id, struct fs_name name, bool makes);
// is_leased: the answer lets the name be kept. Else another's change of it, for which it has been doubted
// already, is about to be made.
void whole_end(struct whole_dirs *dirs, const struct whole_change *change, enum whole_outcome outcome,
               bool is_leased);

// Somebody else makes or removes it.
void whole_doubt(struct whole_dirs *dirs, uint64_t id, struct fs_name name);
void whole_drop(struct whole_dirs *dirs, uint64_t id);
void whole_drop_all(struct whole_dirs *dirs);

#endif
