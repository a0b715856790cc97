// SPDX-License-Identifier: Apache-2.0
// What the client reads as text: what to mount, mountinfo, a thread's pending signals, the status of a mount.
#include "client/address.h"
#include "client/dying.h"
#include "client/mountinfo.h"
#include "client/mountstatus.h"
#include "fs/base/check.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define AP "fsap-0123456789abcdef0"

// --- what to mount ---

static void test_addresses(void **state)
{
    static const struct {
        const char *spec, *host, *port, *path;
    } good[] = {
        {AP "@localhost:7400", "localhost", "7400", ""},
        {AP "@127.0.0.1:1", "127.0.0.1", "1", ""},
        {AP "@[::1]:65535", "::1", "65535", ""},
        {AP "@unix:/run/berth,x@y.sock", "", "", "/run/berth,x@y.sock"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char access_point[FS_ID_SIZE];
        struct server_address address;
        const char *why = NULL;
        assert_int_equal(address_parse(good[i].spec, access_point, &address, &why), 0);
        assert_string_equal(access_point, AP);
        assert_string_equal(address.text, strchr(good[i].spec, '@') + 1);
        assert_int_equal(address.is_unix, good[i].path[0] != '\0');
        assert_string_equal(address.is_unix ? address.path : address.host,
                            address.is_unix ? good[i].path : good[i].host);
        assert_string_equal(address.port, good[i].port);
    }
}

static void test_what_is_no_address(void **state)
{
    static char long_path[256] = AP "@unix:/", long_host[600] = AP "@";
    memset(long_path + strlen(long_path), 'x', 120);
    memset(long_host + strlen(long_host), 'x', 400);
    strcat(long_host, ":1");
    const char *const bad[] = {
        "",
        "@h:1",
        AP,
        AP "@",
        AP "@h",
        AP "@:1",
        AP "@h:",
        AP "@h:0",
        AP "@h:65536",
        AP "@h:99999999999999999999",
        AP "@h:-1",
        AP "@h:+1",
        AP "@h: 1",
        AP "@h:1x",
        AP "@::1:7400",
        AP "@[]:1",
        AP "@unix:relative",
        AP "@unix:",
        "fsap-0123456789abcdef@h:1",
        "fsap-0123456789abcdef00@h:1",
        "fsap-0123456789ABCDEF0@h:1",
        "fs-0123456789abcdef0@h:1",
        long_path,
        long_host,
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char access_point[FS_ID_SIZE];
        struct server_address address;
        const char *why = NULL;
        assert_int_equal(address_parse(bad[i], access_point, &address, &why), -EINVAL);
        assert_non_null(why);
    }
}

// --- mountinfo ---

static bool find(const char *text, const char *path, struct mountinfo *ret_info)
{
    FILE *file = fmemopen((void *)text, strlen(text), "r");
    assert_non_null(file);
    bool found = mountinfo_find_in(file, path, ret_info);
    fclose(file);
    return found;
}

static void test_mountinfo(void **state)
{
    static const char text[] =
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "40 22 0:33 / /mnt/a rw,nosuid shared:5 master:2 - fuse.berth " AP "@h:1 rw,user_id=0\n"
        "41 22 0:34 / /mnt/with\\040space\\134 rw - fuse.berth " AP "@unix:/a\\040b rw\n"
        "42 40 0:35 / /mnt/twice rw - tmpfs tmpfs rw\n"
        "43 42 0:36 / /mnt/twice rw - fuse.berth x rw\n"
        "garbage\n"
        "44 22 0:37 / /mnt/short rw -\n";
    struct mountinfo info;
    (void)state;
    assert_true(find(text, "/mnt/a", &info));
    assert_true(info.is_berth);
    assert_int_equal(info.fuse_number, 33);
    assert_string_equal(info.source, AP "@h:1");
    assert_true(find(text, "/mnt/with space\\", &info));
    assert_string_equal(info.source, AP "@unix:/a b");
    assert_true(find(text, "/mnt/twice", &info)); // what is on top
    assert_int_equal(info.fuse_number, 36);
    assert_true(find(text, "/", &info));
    assert_false(info.is_berth);
    assert_false(find(text, "/mnt", &info));
    assert_false(find(text, "/mnt/short", &info));
}

static void test_mountpoints(void **state)
{
    char base[] = "/tmp/berth-mountpoint-XXXXXX", path[PATH_MAX], link_path[PATH_MAX], found[PATH_MAX];
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof(path), "%s/./../%s/", base, strrchr(base, '/') + 1);
    assert_int_equal(mountpoint_resolve(path, found), 0);
    assert_string_equal(found, base);
    snprintf(link_path, sizeof(link_path), "%s/link", base);
    assert_int_equal(symlink(base, link_path), 0);
    assert_int_equal(mountpoint_resolve(link_path, found), 0);
    assert_string_equal(found, base);
    snprintf(path, sizeof(path), "%s/missing", base);
    assert_int_equal(mountpoint_resolve(path, found), -ENOENT);
    assert_int_equal(mountpoint_resolve("", found), -ENOENT);
    assert_int_equal(mountpoint_resolve("/", found), 0);
    assert_string_equal(found, "/");
    assert_int_equal(mountpoint_resolve("/proc/.", found), 0);
    assert_string_equal(found, "/proc");
    unlink(link_path);
    rmdir(base);
}

// --- pending signals ---

static bool dying(uint64_t thread, uint64_t process, uint64_t blocked, uint64_t ignored, uint64_t caught)
{
    char text[512];
    snprintf(text, sizeof(text),
             "Name:\tSigPnd:\t0000000000000100\nThreads:\t1\nSigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%"
             "016llx\n"
             "SigIgn:\t%016llx\nSigCgt:\t%016llx\n",
             (unsigned long long)thread, (unsigned long long)process, (unsigned long long)blocked,
             (unsigned long long)ignored, (unsigned long long)caught);
    return status_is_dying(text);
}

static void test_who_is_dying(void **state)
{
    const uint64_t kill = 1ull << (SIGKILL - 1), term = 1ull << (SIGTERM - 1), chld = 1ull << (SIGCHLD - 1),
                   stop = 1ull << (SIGTSTP - 1), segv = 1ull << (SIGSEGV - 1);
    (void)state;
    assert_false(dying(0, 0, 0, 0, 0));
    assert_true(dying(kill, 0, 0, 0, 0));
    assert_true(dying(0, kill, 0, 0, 0));
    assert_true(dying(0, term, 0, 0, 0));
    assert_true(dying(segv, 0, 0, 0, 0));
    assert_false(dying(0, term, term, 0, 0));
    assert_false(dying(0, term, 0, term, 0));
    assert_false(dying(0, term, 0, 0, term));
    assert_false(dying(chld, stop, 0, 0, 0));
    assert_true(dying(chld, term, 0, 0, chld));
    assert_true(caller_is_dying(0));
    assert_false(caller_is_dying(getpid()));
}

// --- status ---

static void append_member(void *context, const char *key, const char *value)
{
    char *out = context;
    sprintf(out + strlen(out), "%s=%s;", key, value);
}

static void test_status_members(void **state)
{
    static const char text[] =
        "{\"a\": \"x, y} \\\"q\\\" \\\\ \\u000a.\", \"n\": 12, \"flag\": true, \"none\": \"\"}";
    char all[256] = "", value[16];
    (void)state;
    mountstatus_each(text, append_member, all);
    assert_string_equal(all, "a=x, y} \"q\" \\ \n.;n=12;flag=true;none=;");
    assert_true(mountstatus_get(text, "n", value, sizeof(value)));
    assert_string_equal(value, "12");
    assert_false(mountstatus_get(text, "missing", value, sizeof(value)));
    assert_false(mountstatus_get("", "a", value, sizeof(value)));
    assert_false(mountstatus_get("{\"a", "a", value, sizeof(value)));
    assert_false(mountstatus_get("{\"a\": \"cut", "a", value, sizeof(value)));
}

static void test_who_waits_for_an_ofd_lock(void **state UNUSED)
{
    assert_true(syscall_waits_for_ofd("72 0x5 0x26 0x7ffd1 0x0 0x0 0x0 0x7ffd0 0x7f00\n")); // x86-64
    assert_true(syscall_waits_for_ofd("25 0x5 0x26 0xffff1 0x0 0x0 0x0 0xffff0 0xff00\n")); // arm64
    assert_false(syscall_waits_for_ofd("72 0x5 0x7 0x7ffd1 0x0 0x0 0x0 0x7ffd0 0x7f00\n")); // F_SETLKW
    assert_false(syscall_waits_for_ofd("running\n"));
    assert_false(syscall_waits_for_ofd("-1 0x7ffd0 0x7f00\n"));
    assert_false(syscall_waits_for_ofd(""));
    assert_false(caller_waits_for_ofd(getpid())); // awake
    assert_false(caller_waits_for_ofd(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_what_is_no_address),
        cmocka_unit_test(test_mountinfo),
        cmocka_unit_test(test_mountpoints),
        cmocka_unit_test(test_who_is_dying),
        cmocka_unit_test(test_status_members),
        cmocka_unit_test(test_who_waits_for_an_ofd_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
