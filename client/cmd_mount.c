// SPDX-License-Identifier: Apache-2.0
// `berth mount` and mount.berth: words into options, everything that can be checked before a daemon exists,
// and the daemon itself, whose first report decides the exit code. Before any thread.
#include "client/commands.h"
#include "client/mount.h"
#include "client/mountinfo.h"
#include "client/mountstatus.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRONG           2 // exit code of wrong usage
#define TIMEO_DEFAULT_S 30u
#define TIMEO_MAX_S     86400u

// --- options ---

struct words {
    const char *spec, *mountpoint;
    const char *profile; // of the credentials file, or NULL
    bool sloppy;         // unknown options are no error
    bool fake;           // everything but the mount itself
};

static int usage(FILE *out, int code)
{
    fputs("Usage: berth mount [-f] [-o OPT,...] FSAP@HOST:PORT MOUNTPOINT\n"
          "       berth mount [-f] [-o OPT,...] FSAP@unix:/PATH MOUNTPOINT\n"
          "Mounts an access point; returns when the mount answers.\n"
          "  -f            stay in the foreground\n"
          "  -o ro         read-only\n"
          "  -o hard       calls wait for a server that does not answer (this is the default)\n"
          "  -o soft       calls fail with ETIMEDOUT when the server does not answer for timeo=SECONDS (30)\n"
          "  -o allow_other  other users may enter (on for root)\n"
          "  -o nolease    keep nothing: every look goes to the server\n"
          "  -o suid, dev, noexec  as mount(8) has them; off unless given\n"
          "  -o profile=NAME  which profile of the AWS credentials file proves the identity\n"
          "Credentials come from where AWS tools look: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,\n"
          "AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE, ~/.aws/credentials.\n",
          out);
    return code;
}

// What mount(8) and fstab say that does not concern a mount like ours.
static bool is_ignored(const char *option)
{
    static const char *const words[] = {"",       "rw",       "_netdev", "noauto",     "auto",
                                        "user",   "nouser",   "users",   "owner",      "group",
                                        "nofail", "defaults", "async",   "relatime",   "noatime",
                                        "exec",   "nosuid",   "nodev",   "nodiratime", "nostrictatime"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(option, words[i]) == 0)
            return true;
    }
    return strncmp(option, "x-", 2) == 0 || strncmp(option, "comment=", 8) == 0;
}

static int set_timeo(struct mount_options *options, const char *text)
{
    char *end;
    errno = 0;
    unsigned long seconds = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || seconds == 0 || seconds > TIMEO_MAX_S) {
        complain("timeo=%s: not a number of seconds from 1 to %u", text, TIMEO_MAX_S);
        return WRONG;
    }
    options->timeo_s = (uint32_t)seconds;
    return 0;
}

static int add_extra(struct mount_options *options, const char *option)
{
    size_t n = strlen(options->extra);
    snprintf(options->extra + n, sizeof(options->extra) - n, "%s%s", n ? "," : "-o", option);
    return 0;
}

// 0, or the exit code.
static int set_option(struct mount_options *options, struct words *words, const char *option)
{
    if (is_ignored(option))
        return 0;
    if (strcmp(option, "ro") == 0)
        options->read_only = true;
    else if (strcmp(option, "soft") == 0)
        options->soft = true;
    else if (strcmp(option, "nolease") == 0)
        options->no_lease = true;
    else if (strcmp(option, "hard") == 0)
        options->soft = false;
    else if (strncmp(option, "timeo=", 6) == 0)
        return set_timeo(options, option + 6);
    else if (strcmp(option, "allow_other") == 0)
        options->allow_other = true;
    else if (strncmp(option, "profile=", 8) == 0)
        words->profile = option + 8;
    else if (strcmp(option, "suid") == 0 || strcmp(option, "dev") == 0 || strcmp(option, "noexec") == 0)
        return strstr(options->extra, option) ? 0 : add_extra(options, option);
    else if (strcmp(option, "tls") == 0 || strncmp(option, "ca=", 3) == 0)
        return complain("%s: TLS is not built yet", option);
    else if (!words->sloppy) {
        complain("no such mount option: %s (berth mount --help lists them)", option);
        return WRONG;
    }
    return 0;
}

static int set_options(struct mount_options *options, struct words *words, char *list)
{
    int code = 0;
    char *option;
    while (code == 0 && (option = strsep(&list, ",")))
        code = set_option(options, words, option);
    return code;
}

// Options may stand before, between and after the two words, as mount(8) has them.
static int parse(int argc, char **argv, const char *flags, struct mount_options *options, struct words *words)
{
    int code = 0, flag;
    optind = 1;
    opterr = 0;
    while (code == 0 && (flag = getopt(argc, argv, flags)) >= 0) {
        if (flag == 'o')
            code = set_options(options, words, optarg);
        else if (flag == 'f')
            words->fake = options->foreground = true; // which of them counts, the caller knows
        else if (flag == 's')
            words->sloppy = true;
        else if (flag == '?')
            code = usage(stderr, WRONG);
    }
    if (code == 0 && argc - optind != 2)
        code = usage(stderr, WRONG);
    if (code != 0)
        return code;
    words->spec = argv[optind];
    words->mountpoint = argv[optind + 1];
    return 0;
}

// --- checks ---

static int load_credentials(struct mount_options *options, const char *profile)
{
    int result = aws_profile_load(profile, options->access_key, options->secret);
    if (result == -ENOENT && !profile) {
        options->access_key[0] = options->secret[0] = '\0';
        return 0;
    }
    if (result == -ENOENT)
        return complain("profile %s: no such profile in the AWS credentials file", profile);
    if (result < 0)
        return complain("AWS credentials: %s", result == -EINVAL
                                                   ? "one half of a key is missing, or a value is too long"
                                                   : strerror(-result));
    return 0;
}

// What is mounted there may have lost its daemon.
static int complain_busy(const char *path, const struct mount_options *options, const struct mountinfo *info)
{
    char text[MOUNTSTATUS_SIZE];
    int result = mountstatus_read(options->mountpoint, text, sizeof(text));
    if (result == -ENOTCONN)
        return complain_silent(path, result);
    return complain("mountpoint %s is busy: %s is mounted there; berth umount takes it away", path,
                    info->source);
}

static int check_mountpoint(struct mount_options *options, const char *path)
{
    struct mountinfo info;
    struct stat stat_of_it;
    int result = mountpoint_resolve(path, options->mountpoint);
    if (result == -ENOENT)
        return complain("mountpoint %s: no such directory; make it first (mkdir -p)", path);
    if (result < 0)
        return complain("mountpoint %s: %s", path, strerror(-result));
    if (mountinfo_find(options->mountpoint, &info) && info.is_berth)
        return complain_busy(path, options, &info);
    if (stat(options->mountpoint, &stat_of_it) < 0)
        return complain("mountpoint %s: %s", path, strerror(errno));
    if (!S_ISDIR(stat_of_it.st_mode))
        return complain("mountpoint %s: not a directory; give one", path);
    return 0;
}

static int check_fuse(void)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == EACCES)
        return complain("cannot open /dev/fuse: %s; mount as root, or give the device mode 0666",
                        strerror(errno));
    if (fd < 0)
        return complain("cannot open /dev/fuse: %s; load the fuse module (modprobe fuse), or give the "
                        "container the device",
                        strerror(errno));
    close(fd);
    return 0;
}

static int check(struct mount_options *options, const struct words *words)
{
    const char *why;
    options->spec = words->spec;
    if (address_parse(words->spec, options->access_point, &options->address, &why) < 0) {
        complain("%s: %s", words->spec, why);
        return WRONG;
    }
    int code = check_mountpoint(options, words->mountpoint);
    if (code == 0)
        code = check_fuse();
    return code == 0 ? load_credentials(options, words->profile) : code;
}

// --- the daemon ---

static int serve(const struct mount_options *options, int report_fd)
{
    log_setup("berth", LOG_INFO, false);
    if (!options->foreground) {
        setsid();
        log_setup("berth", LOG_ERROR, false); // stderr is the terminal's until the mount is ready
        if (chdir("/") < 0)
            return 1;
    }
    return mount_serve(options, report_fd);
}

// Waits for the daemon's report: empty when the mount is ready, else why not.
static int await(int fd, pid_t daemon, const char *mountpoint)
{
    char text[MOUNT_REASON_SIZE];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof(text) - 1 &&
           ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0 || (got < 0 && errno == EINTR)))
        n += got > 0 ? (size_t)got : 0;
    text[n] = '\0';
    int status = 0;
    if (n == 0 && waitpid(daemon, &status, WNOHANG) == daemon)
        return complain("the daemon ended unexpectedly (status 0x%x)", status);
    if (n > 0) {
        waitpid(daemon, NULL, 0); // it has a farewell to say, and nothing is left afterwards
        return complain("%s", text);
    }
    struct stat root;
    if (stat(mountpoint, &root) < 0)
        return complain("mounted, but %s does not answer: %s", mountpoint, strerror(errno));
    return 0;
}

static int run_daemon(const struct mount_options *options)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return complain("pipe: %s", strerror(errno));
    pid_t daemon = fork();
    if (daemon < 0)
        return complain("fork: %s", strerror(errno));
    if (daemon == 0) {
        close(report[0]);
        _exit(serve(options, report[1]));
    }
    close(report[1]);
    int code = await(report[0], daemon, options->mountpoint);
    close(report[0]);
    return code;
}

// --- commands ---

static void set_defaults(struct mount_options *options, int argc, char **argv)
{
    *options = (struct mount_options){.allow_other = geteuid() == 0, .timeo_s = TIMEO_DEFAULT_S};
    // The words lie one after the other, until getopt sorts the pointers to them.
    options->title.words = argv[0];
    options->title.size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
}

int cmd_mount(int argc, char **argv)
{
    struct mount_options options;
    struct words words = {0};
    set_defaults(&options, argc, argv);
    if (wants_help(argc, argv))
        return usage(stdout, 0);
    int code = parse(argc, argv, "fo:", &options, &words);
    if (code == 0)
        code = check(&options, &words);
    if (code != 0)
        return code;
    return options.foreground ? serve(&options, -1) : run_daemon(&options);
}

int cmd_mount_helper(int argc, char **argv)
{
    struct mount_options options;
    struct words words = {0};
    set_defaults(&options, argc, argv);
    int code = parse(argc, argv, "sfnvo:t:N:", &options, &words);
    options.foreground = false; // -f of mount(8) is "fake"
    if (code == 0)
        code = check(&options, &words);
    return code != 0 || words.fake ? code : run_daemon(&options);
}
