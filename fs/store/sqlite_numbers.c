// SPDX-License-Identifier: Apache-2.0
// Numbers that no power loss may hand out twice: inode numbers, directory cookies, data file ids, and the
// incarnation. They live in a file of their own, not in the database, because a block must be synced before
// its first number is used, also in the middle of a transaction. Two slots are written in turn; a record is
// one sector with a checksum, so a torn write leaves the other slot. Invariant: every number below `bound`
// may have been used, none at or past it. Owner thread.
#include "fs/base/check.h"
#include "fs/base/cursor.h"
#include "fs/base/siphash.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define NUMBERS_MAGIC   UINT64_C(0x736d756e68747262) // "brthnums"
#define NUMBERS_VERSION 1u
#define RECORD_SIZE     104u // below one sector
#define SLOT_STRIDE     4096u
#define BLOCK           65536u // numbers that one sync makes room for
#define BOUND_MAX       (UINT64_C(1) << 62)

static const uint8_t checksum_key[SIPHASH_KEY_SIZE] = "berth numbers v1";
static const uint64_t first_numbers[NUMBER_KINDS] = {
    [NUMBER_INO] = FS_ROOT_INO + 1, [NUMBER_COOKIE] = 16, [NUMBER_FILE] = 1};

static void encode(const struct numbers *numbers, uint8_t record[RECORD_SIZE])
{
    struct writer writer = writer_on(record, RECORD_SIZE);
    write_u64(&writer, NUMBERS_MAGIC);
    write_u64(&writer, NUMBERS_VERSION);
    write_u64(&writer, numbers->sequence);
    write_u64(&writer, numbers->incarnation);
    for (int kind = 0; kind < NUMBER_KINDS; kind++)
        write_u64(&writer, numbers->bound[kind]);
    write_u64(&writer, numbers->file_floor);
    write_u64(&writer, numbers->clean);
    while (writer.left > 8)
        write_u8(&writer, 0);
    write_u64(&writer, siphash24(checksum_key, record, RECORD_SIZE - 8));
}

// False: not a whole record.
static bool decode(const uint8_t record[RECORD_SIZE], struct numbers *ret_numbers)
{
    struct reader reader = reader_on(record, RECORD_SIZE);
    struct numbers numbers = {.fd = ret_numbers->fd};
    uint64_t magic = read_u64(&reader);
    uint64_t version = read_u64(&reader);
    numbers.sequence = read_u64(&reader);
    numbers.incarnation = read_u64(&reader);
    bool possible = true;
    for (int kind = 0; kind < NUMBER_KINDS; kind++) {
        numbers.bound[kind] = numbers.next[kind] = read_u64(&reader);
        possible = possible && numbers.bound[kind] >= first_numbers[kind] && numbers.bound[kind] <= BOUND_MAX;
    }
    numbers.file_floor = read_u64(&reader);
    numbers.clean = read_u64(&reader) == 1;
    reader = reader_on(record + RECORD_SIZE - 8, 8);
    if (magic != NUMBERS_MAGIC || version != NUMBERS_VERSION ||
        read_u64(&reader) != siphash24(checksum_key, record, RECORD_SIZE - 8))
        return false;
    if (!possible || numbers.file_floor > numbers.bound[NUMBER_FILE])
        return false;
    *ret_numbers = numbers;
    return true;
}

static int save(struct numbers *numbers)
{
    uint8_t record[RECORD_SIZE];
    numbers->sequence++;
    encode(numbers, record);
    ssize_t written = pwrite(numbers->fd, record, RECORD_SIZE, (off_t)(numbers->sequence % 2 * SLOT_STRIDE));
    if (written < 0)
        return -errno;
    if (written != RECORD_SIZE)
        return -ENOSPC;
    return fdatasync(numbers->fd) < 0 ? -EIO : 0; // whatever the reason: nobody knows what is on disk
}

int numbers_create(int dir_fd)
{
    struct numbers numbers = {.file_floor = 1, .clean = true};
    memcpy(numbers.bound, first_numbers, sizeof(first_numbers));
    numbers.fd = openat(dir_fd, "numbers", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (numbers.fd < 0)
        return -errno;
    int result = save(&numbers);
    if (result == 0)
        result = save(&numbers);
    close(numbers.fd);
    return result;
}

int numbers_load(struct numbers *numbers, int dir_fd)
{
    numbers->fd = openat(dir_fd, "numbers", O_RDWR | O_CLOEXEC);
    if (numbers->fd < 0)
        return errno == ENOENT ? -EUCLEAN : -errno;
    bool found = false;
    for (off_t slot = 0; slot < 2; slot++) {
        uint8_t record[RECORD_SIZE];
        struct numbers candidate = {.fd = numbers->fd};
        ssize_t got = pread(numbers->fd, record, RECORD_SIZE, slot * SLOT_STRIDE);
        if (got < 0)
            return -errno;
        if (got != RECORD_SIZE || !decode(record, &candidate))
            continue;
        if (!found || candidate.sequence > numbers->sequence)
            *numbers = candidate;
        found = true;
    }
    return found ? 0 : -EUCLEAN;
}

void numbers_free(struct numbers *numbers)
{
    if (numbers->fd >= 0)
        close(numbers->fd);
    numbers->fd = -1;
}

int numbers_start(struct numbers *numbers)
{
    numbers->incarnation++;
    numbers->file_floor = numbers->bound[NUMBER_FILE];
    numbers->clean = false;
    return save(numbers);
}

// What was not used goes back: nothing can have been lost.
int numbers_stop(struct numbers *numbers)
{
    memcpy(numbers->bound, numbers->next, sizeof(numbers->bound));
    numbers->file_floor = numbers->bound[NUMBER_FILE];
    numbers->clean = true;
    return save(numbers);
}

int numbers_raise(struct numbers *numbers, const uint64_t bounds[NUMBER_KINDS], bool lost)
{
    struct numbers raised = *numbers;
    for (int kind = 0; kind < NUMBER_KINDS; kind++) {
        raised.bound[kind] = MIN(MAX(MAX(raised.bound[kind], bounds[kind]), first_numbers[kind]), BOUND_MAX);
        raised.next[kind] = raised.bound[kind];
    }
    if (lost || raised.clean) // what there is was made before
        raised.file_floor = raised.bound[NUMBER_FILE];
    int result = save(&raised);
    if (result == 0)
        *numbers = raised;
    return result;
}

int numbers_take(struct numbers *numbers, enum number_kind kind, uint32_t n, uint64_t *ret_first)
{
    uint64_t first = numbers->next[kind];
    if (n > BOUND_MAX - BLOCK - first)
        return -ENOSPC;
    if (n > numbers->bound[kind] - first) {
        uint64_t before = numbers->bound[kind];
        numbers->bound[kind] = first + MAX(n, BLOCK);
        int result = save(numbers);
        if (result < 0) {
            numbers->bound[kind] = before;
            return result;
        }
    }
    numbers->next[kind] = first + n;
    *ret_first = first;
    return 0;
}
