// SPDX-License-Identifier: Apache-2.0
// See place.h.
#include "shim/place.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "shim/function.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BOOTSTRAP_MAX (64u * 1024)
#define PARENTS_MAX   4 // build/san-x/bin is the deepest place a build puts the program

// The directory of the running program, then its parents: PREFIX/libexec/berth when installed, shim/ in the
// tree.
static bool find_bootstrap(const char *program_dir, char *out, size_t out_size)
{
    static const char *const names[] = {"libexec/berth/bootstrap.py", "shim/bootstrap.py"};
    _cleanup_(freep) char *parent = strdup(program_dir);
    fs_assert(parent);
    for (unsigned level = 0; level < PARENTS_MAX; level++) {
        char *slash = strrchr(parent, '/');
        if (!slash)
            return false;
        *slash = '\0';
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            int length = snprintf(out, out_size, "%s/%s", parent, names[i]);
            if ((size_t)length < out_size && access(out, R_OK) == 0)
                return true;
        }
    }
    return false;
}

int place_find(struct place *place, char *error, size_t error_size)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length <= 0) {
        snprintf(error, error_size, "/proc/self/exe: %s", strerror(errno));
        return -ENOENT;
    }
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    if (snprintf(place->berth, sizeof(place->berth), "%s/berth", program) >= (int)sizeof(place->berth))
        return -ENAMETOOLONG;
    if (!find_bootstrap(program, place->bootstrap, sizeof(place->bootstrap))) {
        snprintf(error, error_size, "bootstrap.py: neither in libexec/berth nor in shim beside %s", program);
        return -ENOENT;
    }
    return 0;
}

static int write_file(const struct place *place, const char *name, const char *text, size_t size)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%s", place->run, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int rc = write(fd, text, size) == (ssize_t)size ? 0 : -EIO;
    if (rc == 0 && fchmod(fd, 0644) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

// The sandbox's user may not be able to read the original.
static int copy_bootstrap(struct place *place)
{
    char text[BOOTSTRAP_MAX];
    int fd = open(place->bootstrap, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    int rc = size < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (rc == 0 && size == sizeof(text))
        rc = -EFBIG;
    if (rc == 0)
        rc = write_file(place, "bootstrap.py", text, (size_t)size);
    if (rc == 0 &&
        snprintf(place->bootstrap, sizeof(place->bootstrap), "%.4000s/bootstrap.py", place->run) < 0)
        rc = -ENAMETOOLONG;
    return rc;
}

static int fill_run(struct place *place)
{
    bool root = geteuid() == 0;
    unsigned uid = root ? FUNCTION_SANDBOX_UID : geteuid(), gid = root ? FUNCTION_SANDBOX_GID : getegid();
    char passwd[160], group[64];
    snprintf(passwd, sizeof(passwd), "root:x:0:0:root:/:/bin/sh\nsandbox:x:%u:%u:function:/tmp:/bin/sh\n",
             uid, gid);
    snprintf(group, sizeof(group), "root:x:0:\nsandbox:x:%u:\n", gid);
    int rc = write_file(place, "passwd", passwd, strlen(passwd));
    if (rc == 0)
        rc = write_file(place, "group", group, strlen(group));
    return rc < 0 ? rc : copy_bootstrap(place);
}

int place_make_run(struct place *place, char *error, size_t error_size)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (!base || base[0] != '/' || access(base, W_OK) < 0)
        base = "/tmp";
    int length = snprintf(place->run, sizeof(place->run), "%s/berth-fn-XXXXXX", base);
    if (length >= (int)sizeof(place->run) || !mkdtemp(place->run)) {
        snprintf(error, error_size, "%s: cannot make a directory there: %s", base, strerror(errno));
        place->run[0] = '\0';
        return -EIO;
    }
    int rc = fill_run(place);
    if (rc < 0)
        snprintf(error, error_size, "%s: %s", place->run, strerror(-rc));
    return rc;
}

void place_remove_run(const struct place *place)
{
    static const char *const files[] = {"passwd", "group", "bootstrap.py"};
    if (!place->run[0])
        return;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof(path), "%s/%s", place->run, files[i]);
        unlink(path);
    }
    if (rmdir(place->run) < 0)
        log_warn("leftover", "directory=%s error=\"%s\"", place->run, strerror(errno));
}

int place_probe_bubblewrap(char *error, size_t error_size)
{
    const char *argv[] = {"bwrap",  "--unshare-pid", "--unshare-ipc", "--ro-bind", "/",         "/",
                          "--proc", "/proc",         "--dev",         "/dev",      "/bin/true", NULL};
    pid_t pid;
    int rc = posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ);
    if (rc != 0) {
        snprintf(error, error_size, "bwrap: %s; install bubblewrap, or use --sandbox none", strerror(rc));
        return -rc;
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    snprintf(error, error_size,
             "bwrap cannot make a sandbox here (see above); it needs user namespaces or CAP_SYS_ADMIN; "
             "or use --sandbox none");
    return -EPERM;
}
