// SPDX-License-Identifier: Apache-2.0
// Runs one litmus: rounds LITMUS N WRITER-DIR READER-DIR [THIRD-DIR]. Three processes: the writer prepares
// the old state and changes it; the reader warms its caches with two looks at the old state, and looks again
// as soon as it is told that the change has returned, or, every other round, looks all the time while the
// change happens. Whenever the reader has seen the new state it tells the third, whose caches are as warm,
// and which must see it too. The process that was started only watches: it touches no mount, so it can tell
// who is stuck.
#include "tests/coherence/litmus.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STUCK_MS = 45000, USER = 1000, MAPPED = 2 * LITMUS_PAGE, SPIN_LOOKS = 200000 };
enum { WRITER, READER, THIRD, ROLES };

static const char *const roles[] = {"writer", "reader", "third"};
static const struct litmus *const tables[] = {litmus_data, litmus_names, litmus_lists, litmus_attributes,
                                              litmus_maps};

// Shared by the processes.
static struct shared {
    _Atomic unsigned changed;        // rounds whose change has returned
    _Atomic unsigned round[ROLES];   // which each is at
    _Atomic(const char *) at[ROLES]; // and what it does
} * shared;

struct verdict {
    bool stale;
    char words[300];
};

struct role {
    const struct litmus *litmus;
    int number;
    int up, down; // sockets: towards who commands it, and whom it tells; -1
    struct side side;
    struct verdict verdict;
};

static void doing(const struct role *role, unsigned round, const char *what)
{
    shared->round[role->number] = round;
    shared->at[role->number] = what;
}

static void say(int fd, const void *what, size_t n)
{
    if (send(fd, what, n, MSG_NOSIGNAL) != (ssize_t)n)
        _exit(3);
}

static void hear(int fd, void *what, size_t n)
{
    if (recv(fd, what, n, MSG_WAITALL) != (ssize_t)n)
        _exit(3);
}

static char command(int fd)
{
    char byte;
    hear(fd, &byte, 1);
    return byte;
}

static void let_go(struct side *side)
{
    if (side->map)
        munmap(side->map, MAPPED);
    if (side->fd >= 0)
        close(side->fd);
    side->map = NULL;
    side->fd = -1;
}

// --- looking ---

static const char *const states[] = {"the old state", "the new state", "neither state"};

static void note(struct role *role, unsigned round, const char *when, enum seen seen)
{
    if (role->verdict.stale)
        return;
    role->verdict.stale = true;
    snprintf(role->verdict.words, sizeof(role->verdict.words), "round %u: the %s saw %s %s%s%s", round,
             roles[role->number], states[seen], when, seen == SEEN_OTHER ? ": " : "",
             seen == SEEN_OTHER ? role->side.what : "");
}

static void must_see(struct role *role, unsigned round, enum seen want, const char *when)
{
    enum seen seen = role->litmus->look(&role->side, round);
    if (seen != want)
        note(role, round, when, seen);
}

static void warm(struct role *role, unsigned round)
{
    doing(role, round, "warms its caches");
    role->verdict = (struct verdict){0};
    if (role->litmus->hold)
        role->litmus->hold(&role->side, round);
    must_see(role, round, SEEN_OLD, "before the change");
    must_see(role, round, SEEN_OLD, "before the change, looking again");
}

// Looks all the time: after the new state never the old one, and none but the new one once the change has
// returned.
static void spin(struct role *role, unsigned round)
{
    doing(role, round, "looks during the change");
    bool told = false;
    for (unsigned looks = 0; looks < SPIN_LOOKS; looks++) {
        bool over = atomic_load(&shared->changed) > round;
        enum seen seen = role->litmus->look(&role->side, round);
        if (seen == SEEN_NEW && !told) {
            told = true;
            if (role->down >= 0)
                say(role->down, "t", 1);
        } else if (seen != SEEN_NEW && (over || told)) {
            note(role, round, over ? "after the change" : "after the new one", seen);
        } else if (seen == SEEN_OTHER && !role->litmus->between) {
            note(role, round, "during the change", seen);
        }
        if (over)
            break;
    }
    if (!told && role->down >= 0)
        say(role->down, "x", 1);
}

static void look_once(struct role *role, unsigned round)
{
    doing(role, round, "looks after the change");
    must_see(role, round, SEEN_NEW, "after the change");
    if (role->down >= 0)
        say(role->down, "t", 1);
}

static void answer(struct role *role)
{
    let_go(&role->side);
    say(role->up, &role->verdict, sizeof(role->verdict));
}

static void reader(struct role *role, unsigned n)
{
    for (unsigned round = 0; round < n; round++) {
        doing(role, round, "waits");
        char how = command(role->up);
        warm(role, round);
        say(role->up, "w", 1);
        if (how == 's') {
            spin(role, round);
        } else {
            command(role->up);
            look_once(role, round);
        }
        answer(role);
    }
}

static void third(struct role *role, unsigned n)
{
    for (unsigned round = 0; round < n; round++) {
        doing(role, round, "waits");
        command(role->up);
        warm(role, round);
        say(role->up, "w", 1);
        if (command(role->down) == 't') {
            doing(role, round, "looks when it was told");
            must_see(role, round, SEEN_NEW, "after the reader had seen the new one");
        }
        answer(role);
    }
}

// --- changing ---

struct writer {
    struct role role;
    int listeners[2], n_listeners;
    unsigned stale;
    char first[300];
};

static void collect(struct writer *writer)
{
    bool stale = false;
    for (int i = 0; i < writer->n_listeners; i++) {
        struct verdict verdict;
        hear(writer->listeners[i], &verdict, sizeof(verdict));
        if (verdict.stale && !writer->first[0])
            memcpy(writer->first, verdict.words, sizeof(verdict.words));
        stale |= verdict.stale;
    }
    writer->stale += stale;
}

static void write_rounds(struct writer *writer, unsigned n)
{
    struct role *role = &writer->role;
    for (unsigned round = 0; round < n; round++) {
        bool spinning = round % 2;
        doing(role, round, "prepares");
        role->litmus->prepare(&role->side, round);
        for (int i = 0; i < writer->n_listeners; i++)
            say(writer->listeners[i], spinning ? "s" : "q", 1);
        for (int i = 0; i < writer->n_listeners; i++)
            command(writer->listeners[i]);
        doing(role, round, "changes");
        role->litmus->change(&role->side, round);
        atomic_store(&shared->changed, round + 1);
        if (!spinning)
            say(writer->listeners[0], "g", 1);
        doing(role, round, "waits");
        collect(writer);
        let_go(&role->side);
    }
    printf("%u of %u rounds stale%s%s\n", writer->stale, n, writer->stale ? "; " : "", writer->first);
    fflush(stdout);
    _exit(writer->stale ? 1 : 0);
}

// --- processes ---

static pid_t become(const char *directory, bool as_user)
{
    pid_t pid = fork();
    if (pid != 0)
        return must(pid, "fork", "");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(chdir(directory), "chdir", directory);
    if (as_user) {
        must(setgid(USER), "setgid", "");
        must(setuid(USER), "setuid", "");
    }
    return 0;
}

static void pair(int ends[2])
{
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair", "");
}

static const struct litmus *find(const char *name)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct litmus *litmus = tables[i]; litmus->name; litmus++) {
            if (strcmp(name, litmus->name) == 0)
                return litmus;
        }
    }
    fprintf(stderr, "no such litmus: %s\n", name);
    exit(2);
}

static int list(void)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct litmus *litmus = tables[i]; litmus->name; litmus++)
            puts(litmus->name);
    }
    return 0;
}

// The writer's exit status; when no round ends any more, everybody is killed and the places told.
static int watch(const pid_t pids[ROLES], int n)
{
    unsigned last = 0, still_ms = 0;
    int status;
    while (waitpid(pids[WRITER], &status, WNOHANG) == 0) {
        poll(NULL, 0, 20);
        still_ms = shared->changed == last ? still_ms + 20 : 0;
        last = shared->changed;
        if (still_ms > STUCK_MS) {
            for (int i = 0; i < n; i++)
                fprintf(stderr, "stuck: the %s %s in round %u\n", roles[i], shared->at[i], shared->round[i]);
            status = 3 << 8;
            break;
        }
    }
    for (int i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        if (i != WRITER || status == 3 << 8)
            waitpid(pids[i], NULL, 0);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    bool root =
        argc > 1 && strcmp(argv[1], "--root") == 0; // the reader stays who it is: the server decides who acts
    argv += root;
    argc -= root;
    if (argc != 5 && argc != 6) {
        fprintf(stderr,
                "usage: rounds [--root] LITMUS ROUNDS WRITER-DIR READER-DIR [THIRD-DIR] | rounds --list\n");
        return 2;
    }
    const struct litmus *litmus = find(argv[1]);
    unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
    bool as_user = litmus->as_user && !root;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        litmus_die("mmap", "");
    for (int i = 0; i < ROLES; i++)
        shared->at[i] = "starts";

    int to_reader[2], to_third[2], told[2];
    bool three = argc == 6;
    pair(to_reader);
    pair(to_third);
    pair(told);
    pid_t pids[ROLES] = {0};
    if ((pids[READER] = become(argv[4], as_user)) == 0) {
        close(to_reader[0]);
        reader(&(struct role){litmus, READER, to_reader[1], three ? told[0] : -1, {.fd = -1}, {0}}, n);
        _exit(0);
    }
    if (three && (pids[THIRD] = become(argv[5], as_user)) == 0) {
        close(to_third[0]);
        third(&(struct role){litmus, THIRD, to_third[1], told[1], {.fd = -1}, {0}}, n);
        _exit(0);
    }
    if ((pids[WRITER] = become(argv[3], false)) == 0) {
        close(to_reader[1]);
        close(to_third[1]);
        struct writer writer = {
            {litmus, WRITER, -1, -1, {.fd = -1}, {0}}, {to_reader[0], to_third[0]}, three ? 2 : 1, 0, ""};
        write_rounds(&writer, n);
    }
    close(to_reader[0]);
    close(to_third[0]);
    return watch(pids, three ? ROLES : READER + 1);
}
