// SPDX-License-Identifier: Apache-2.0
// Two or more mounts that want the same thing all the time: contend KIND SECONDS DIR... One process works in
// each directory (the mounts' views of one) until the time is over; then each looks at the outcome. What a
// process must find at any moment it knows from memory that they share. The process that was started only
// watches, and tells who is stuck.
#include "tests/coherence/litmus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, STUCK_MS = 45000, RECORD = 64, NAMES = 4 };

struct worker {
    int number, n;   // of n
    int fd, reading; // reading: a descriptor that can only read, so that what it reads may be kept
    uint64_t *map;   // the page `page`, one slot for each worker
    bool has[NAMES];
    uint64_t last[WORKERS]; // seen of each slot
    off_t size;             // of the appended file, as last seen
};

struct kind {
    const char *name;
    void (*start)(struct worker *worker); // in each process, before any step
    void (*step)(struct worker *worker, uint64_t step);
    void (*finish)(struct worker *worker); // in each process, after everybody's last step
};

static struct shared {
    _Atomic bool over, turns_over;
    _Atomic unsigned ready, done;
    _Atomic uint64_t left;           // of the mapped page, as the first to look found it
    _Atomic uint64_t steps[WORKERS]; // that have been finished
    _Atomic uint64_t begun[WORKERS]; // values that may be found of each
    _Atomic(const char *) at[WORKERS];
    sem_t turn[WORKERS];
} * shared;

static _Noreturn void breach(const struct worker *worker, const char *what, uint64_t found, uint64_t want)
{
    fprintf(stderr, "worker %d after %llu steps: %s: %llu, not %llu\n", worker->number,
            (unsigned long long)shared->steps[worker->number], what, (unsigned long long)found,
            (unsigned long long)want);
    _exit(1);
}

static void at(const struct worker *worker, const char *what)
{
    shared->at[worker->number] = what;
}

// --- a counter under a lock: every increment counts ---

static void counter_start(struct worker *worker)
{
    worker->fd = must(open("counter", O_RDWR | O_CREAT, 0644), "open", "counter");
    worker->reading = must(open("counter", O_RDONLY), "open", "counter");
}

static uint64_t counter_read(int fd)
{
    uint64_t value = 0;
    if (pread(fd, &value, sizeof(value), 0) < 0)
        litmus_die("read", "counter");
    return value;
}

static void count(int reading, int fd)
{
    uint64_t value = counter_read(reading) + 1;
    if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value))
        litmus_die("write", "counter");
}

static void lock_range(int fd, int how, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_len = 8};
    must(fcntl(fd, how, &lock), "lock", "counter");
}

// The caches are warm when the lock is taken, and every other time the file is opened under it.
static void counter_step(struct worker *worker, uint64_t step, int how)
{
    at(worker, "looks without the lock");
    counter_read(worker->reading);
    counter_read(worker->reading);
    at(worker, "waits for the lock");
    if (how)
        lock_range(worker->fd, how, F_WRLCK);
    else
        must(flock(worker->fd, LOCK_EX), "flock", "counter");
    at(worker, "counts under the lock");
    // Closing any descriptor of the file would drop a process's fcntl lock.
    if (step % 2 && how != F_SETLKW) {
        int fd = must(open("counter", O_RDWR), "open", "counter");
        count(fd, fd);
        must(close(fd), "close", "counter");
    } else {
        count(worker->reading, worker->fd);
    }
    at(worker, "unlocks");
    if (how)
        lock_range(worker->fd, how == F_OFD_SETLKW ? F_OFD_SETLK : F_SETLK, F_UNLCK);
    else
        must(flock(worker->fd, LOCK_UN), "flock", "counter");
}

static void counter_fcntl(struct worker *worker, uint64_t step)
{
    counter_step(worker, step, F_SETLKW);
}

static void counter_ofd(struct worker *worker, uint64_t step)
{
    counter_step(worker, step, F_OFD_SETLKW);
}

static void counter_flock(struct worker *worker, uint64_t step)
{
    counter_step(worker, step, 0);
}

static void counter_finish(struct worker *worker)
{
    uint64_t sum = 0;
    for (int i = 0; i < worker->n; i++)
        sum += shared->steps[i];
    if (counter_read(worker->fd) != sum)
        breach(worker, "the counter", counter_read(worker->fd), sum);
}

// --- everybody creates, moves and removes in one directory, and looks at the others' names ---

static const char *name_of(int worker, uint64_t i)
{
    static char name[32];
    snprintf(name, sizeof(name), "w%d-%u", worker, (unsigned)(i % NAMES));
    return name;
}

static void check_own_names(struct worker *worker)
{
    bool found[NAMES] = {false};
    DIR *stream = opendir(".");
    if (!stream)
        litmus_die("opendir", ".");
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] == 'w' && entry->d_name[1] - '0' == worker->number)
            found[entry->d_name[3] - '0'] = true;
    }
    closedir(stream);
    for (int i = 0; i < NAMES; i++) {
        if (found[i] != worker->has[i])
            breach(worker, name_of(worker->number, (uint64_t)i), found[i], worker->has[i]);
    }
}

static void make_or_remove(struct worker *worker, uint64_t step)
{
    int i = (int)(step % NAMES);
    const char *name = name_of(worker->number, step);
    if (!worker->has[i]) {
        touch(name);
    } else if (step % 3 == 0) {
        must(unlink(name), "unlink", name);
    } else {
        must(rename(name, "moved"), "rename", name); // over whoever's was moved before
    }
    worker->has[i] = !worker->has[i];
    if ((access(name, F_OK) == 0) != worker->has[i])
        breach(worker, name, !worker->has[i], worker->has[i]);
}

static void creators(struct worker *worker, uint64_t step)
{
    at(worker, "makes or removes a name");
    make_or_remove(worker, step);
    at(worker, "looks at others' names");
    struct stat st;
    for (int other = 0; other < worker->n; other++) {
        if (other != worker->number && lstat(name_of(other, step), &st) < 0 && errno != ENOENT)
            litmus_die("lstat", name_of(other, step));
    }
    at(worker, "lists");
    if (step % 4 == 0)
        check_own_names(worker);
}

// --- everybody writes a slot of one page, and reads the whole ---

static void page_start(struct worker *worker)
{
    worker->fd = must(open("page", O_RDWR | O_CREAT, 0644), "open", "page");
    must(ftruncate(worker->fd, LITMUS_PAGE), "ftruncate", "page");
    worker->reading = must(open("page", O_RDONLY), "open", "page");
}

static void check_slots(struct worker *worker, const uint64_t *slots, uint64_t own)
{
    for (int i = 0; i < worker->n; i++) {
        if (i == worker->number ? slots[i] != own : slots[i] < worker->last[i] || slots[i] > shared->begun[i])
            breach(worker, i == worker->number ? "its own slot" : "another's slot", slots[i],
                   i == worker->number ? own : worker->last[i]);
        worker->last[i] = slots[i];
    }
}

static void page(struct worker *worker, uint64_t step)
{
    uint64_t slots[LITMUS_PAGE / sizeof(uint64_t)], value = step + 1;
    shared->begun[worker->number] = value;
    at(worker, "writes its slot");
    if (pwrite(worker->fd, &value, sizeof(value), worker->number * (off_t)sizeof(value)) != sizeof(value))
        litmus_die("write", "page");
    at(worker, "reads the page");
    if (pread(step % 2 ? worker->reading : worker->fd, slots, sizeof(slots), 0) != sizeof(slots))
        litmus_die("read", "page");
    check_slots(worker, slots, value);
}

static void page_finish(struct worker *worker)
{
    uint64_t slots[WORKERS] = {0};
    if (pread(worker->reading, slots, sizeof(slots), 0) != sizeof(slots))
        litmus_die("read", "page");
    for (int i = 0; i < worker->n; i++) {
        if (slots[i] != shared->steps[i])
            breach(worker, "a slot at the end", slots[i], shared->steps[i]);
    }
}

// --- everybody stores in one page through a shared mapping: whole pages go back, so that the last one wins
// ---

static void map_page(struct worker *worker)
{
    worker->map = mmap(NULL, LITMUS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, worker->fd, 0);
    if (worker->map == MAP_FAILED)
        litmus_die("mmap", "page");
}

static void maps_start(struct worker *worker)
{
    page_start(worker);
    map_page(worker);
}

static void maps(struct worker *worker, uint64_t step)
{
    shared->begun[worker->number] = step + 1;
    at(worker, "stores");
    worker->map[worker->number] = step + 1;
    for (int i = 0; i < worker->n; i++) {
        if (worker->map[i] > shared->begun[i])
            breach(worker, "a slot never stored", worker->map[i], shared->begun[i]);
    }
    at(worker, "syncs its mapping");
    must(msync(worker->map, LITMUS_PAGE, MS_SYNC), "msync", "page");
}

// All have let go of their mappings: what is left is one and the same for all.
static void maps_finish(struct worker *worker)
{
    uint64_t slots[WORKERS] = {0};
    int fd = must(open("page", O_RDONLY), "open", "page");
    if (pread(fd, slots, sizeof(slots), 0) != sizeof(slots))
        litmus_die("read", "page");
    for (int i = 0; i < worker->n; i++) {
        if (slots[i] > shared->begun[i])
            breach(worker, "a slot never stored", slots[i], shared->begun[i]);
    }
    uint64_t sum = 1 + slots[0] + slots[1] * 3 + slots[2] * 5 + slots[3] * 7, found = 0;
    if (!atomic_compare_exchange_strong(&shared->left, &found, sum) && found != sum)
        breach(worker, "what is left", sum, found);
}

static void maps_let_go(struct worker *worker)
{
    munmap(worker->map, LITMUS_PAGE);
    close(worker->fd);
    close(worker->reading);
}

// --- in turn, each through a mapping of its own that it makes anew: everybody sees the last store ---

static void maps_in_turn_start(struct worker *worker)
{
    page_start(worker);
    close(worker->fd);
    close(worker->reading);
    worker->reading = -1;
}

static void maps_in_turn(struct worker *worker, uint64_t step)
{
    at(worker, "waits for its turn");
    sem_wait(&shared->turn[worker->number]);
    if (shared->turns_over)
        return;
    at(worker, "maps");
    worker->fd = must(open("page", O_RDWR), "open", "page");
    map_page(worker);
    for (int i = 0; i < worker->n; i++) {
        if (worker->map[i] != shared->begun[i])
            breach(worker, "a slot in its turn", worker->map[i], shared->begun[i]);
    }
    shared->begun[worker->number] = step + 1;
    worker->map[worker->number] = step + 1;
    at(worker, "syncs its mapping");
    if (step % 2)
        must(msync(worker->map, LITMUS_PAGE, MS_SYNC), "msync", "page");
    munmap(worker->map, LITMUS_PAGE);
    must(close(worker->fd), "close", "page");
    sem_post(&shared->turn[(worker->number + 1) % worker->n]);
}

// --- everybody appends records to one file ---

static void appends_start(struct worker *worker)
{
    worker->fd = must(open("log", O_RDWR | O_CREAT | O_APPEND, 0644), "open", "log");
}

static void appends(struct worker *worker, uint64_t step)
{
    char record[RECORD];
    struct stat st;
    memset(record, '.', sizeof(record));
    snprintf(record, sizeof(record), "%d %llu", worker->number, (unsigned long long)step);
    at(worker, "appends");
    if (write(worker->fd, record, sizeof(record)) != RECORD)
        litmus_die("append", "log");
    at(worker, "looks at the size");
    must(fstat(worker->fd, &st), "fstat", "log");
    if (st.st_size < worker->size + RECORD)
        breach(worker, "the size after an append", (uint64_t)st.st_size, (uint64_t)worker->size + RECORD);
    worker->size = st.st_size;
}

// Each one's records, in its order, all of them.
static void appends_finish(struct worker *worker)
{
    char record[RECORD];
    uint64_t next[WORKERS] = {0};
    for (off_t offset = 0; pread(worker->fd, record, sizeof(record), offset) > 0; offset += RECORD) {
        int number = record[0] - '0';
        if (number < 0 || number >= worker->n)
            breach(worker, "a record's worker", (uint64_t)number, 0);
        uint64_t step = strtoull(record + 2, NULL, 10);
        if (step != next[number]++)
            breach(worker, "a record", step, next[number] - 1);
    }
    for (int i = 0; i < worker->n; i++) {
        if (next[i] != shared->steps[i])
            breach(worker, "records of a worker", next[i], shared->steps[i]);
    }
}

static void nothing(struct worker *worker)
{
    (void)worker;
}

static const struct kind kinds[] = {
    {"counter_fcntl", counter_start, counter_fcntl, counter_finish},
    {"counter_ofd", counter_start, counter_ofd, counter_finish},
    {"counter_flock", counter_start, counter_flock, counter_finish},
    {"creators", nothing, creators, check_own_names},
    {"page", page_start, page, page_finish},
    {"maps", maps_start, maps, maps_finish},
    {"maps_in_turn", maps_in_turn_start, maps_in_turn, nothing},
    {"appends", appends_start, appends, appends_finish},
};

// --- processes ---

static void all_there(_Atomic unsigned *counter, int n)
{
    atomic_fetch_add(counter, 1);
    while (*counter < (unsigned)n)
        poll(NULL, 0, 1);
}

static void work(const struct kind *kind, struct worker *worker, const char *directory)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(chdir(directory), "chdir", directory);
    at(worker, "starts");
    kind->start(worker);
    all_there(&shared->ready, worker->n);
    bool led = kind->step == maps_in_turn && worker->number > 0; // ends when the first one has
    for (uint64_t step = 0; led ? !shared->turns_over : !shared->over; step++) {
        kind->step(worker, step);
        shared->steps[worker->number] = step + 1;
    }
    shared->turns_over = true;
    for (int i = 0; i < worker->n; i++)
        sem_post(&shared->turn[i]);
    at(worker, "waits for the others' end");
    if (kind->step == maps)
        maps_let_go(worker);
    all_there(&shared->done, worker->n);
    at(worker, "looks at the outcome");
    kind->finish(worker);
    _exit(0);
}

static bool stuck(int n)
{
    static uint64_t last;
    static unsigned still_ms;
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += shared->steps[i];
    still_ms = sum == last ? still_ms + 20 : 0;
    last = sum;
    if (still_ms <= STUCK_MS)
        return false;
    for (int i = 0; i < n; i++)
        fprintf(stderr, "stuck: worker %d %s after %llu steps\n", i, shared->at[i],
                (unsigned long long)shared->steps[i]);
    return true;
}

static int watch(pid_t *pids, int n, double seconds)
{
    struct timespec start, now;
    int status, worst = 0, alive = n;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (alive > 0 && !worst) {
        pid_t pid = waitpid(-1, &status, WNOHANG);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 >= seconds)
            shared->over = true;
        if (pid > 0) {
            alive--;
            worst = WIFEXITED(status) ? WEXITSTATUS(status) : 3;
            for (int i = 0; i < n; i++)
                pids[i] = pids[i] == pid ? 0 : pids[i];
        } else {
            worst = stuck(n) ? 3 : 0;
            poll(NULL, 0, 20);
        }
    }
    for (int i = 0; i < n; i++) {
        if (pids[i]) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
    }
    return worst;
}

static const struct kind *find(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct kind *kind = argc > 1 ? find(argv[1]) : NULL;
    int n = argc - 3;
    if (!kind || n < 1 || n >= WORKERS) {
        fprintf(stderr, "usage: contend KIND SECONDS DIR... (at most %d); kinds:", WORKERS - 1);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            fprintf(stderr, " %s", kinds[i].name);
        fputs("\n", stderr);
        return 2;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        litmus_die("mmap", "");
    pid_t pids[WORKERS] = {0};
    for (int i = 0; i < n; i++)
        sem_init(&shared->turn[i], 1, i == 0);
    for (int i = 0; i < n; i++) {
        pids[i] = must(fork(), "fork", "");
        if (pids[i] == 0)
            work(kind, &(struct worker){.number = i, .n = n, .fd = -1}, argv[3 + i]);
    }
    int worst = watch(pids, n, strtod(argv[2], NULL));
    for (int i = 0; i < n; i++)
        printf("%s%llu", i ? " + " : "", (unsigned long long)shared->steps[i]);
    printf(" steps\n");
    return worst;
}
