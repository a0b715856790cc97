// SPDX-License-Identifier: Apache-2.0
// What a function sees: /usr and the loader's paths read-only, a minimal /etc, its code at /var/task, its
// layer at /opt, its file system at LocalMountPath, a /tmp of its own; nothing else of the machine but its
// network.
//
// As root no user namespace is made, so that files keep their true owners and a container with CAP_SYS_ADMIN
// is enough; the function then runs under an unprivileged user, because root's files below /proc/sys would
// obey even a root without capabilities. An ordinary user's functions run as that user in a user namespace.
#include "shim/sandbox.h"
#include "fs/base/check.h"
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_FILES_MAX 1024 // as in Lambda
#define PROGRAM_PATH   "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

void strings_add(struct strings *strings, const char *text)
{
    char **items = realloc(strings->items, (strings->count + 2) * sizeof(*items));
    char *copy = strdup(text);
    fs_assert(items && copy);
    items[strings->count++] = copy;
    items[strings->count] = NULL;
    strings->items = items;
}

void strings_free(struct strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct strings){0};
}

PRINTF_LIKE(2, 3) static void addf(struct strings *strings, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    fs_assert(length >= 0);
    strings_add(strings, text);
    free(text);
}

static void add_all(struct strings *strings, const char *const *texts)
{
    for (; *texts; texts++)
        strings_add(strings, *texts);
}

#define ADD(strings, ...) add_all(strings, (const char *const[]){__VA_ARGS__, NULL})

// --- the environment: what Lambda sets, then the function's own variables, which win ---

static void set_variable(struct strings *env, const char *name, const char *value)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < env->count; i++) {
        if (strncmp(env->items[i], name, length) != 0 || env->items[i][length] != '=')
            continue;
        free(env->items[i]);
        int written = asprintf(&env->items[i], "%s=%s", name, value);
        fs_assert(written >= 0);
        return;
    }
    addf(env, "%s=%s", name, value);
}

static void build_environment(const struct sandbox *sandbox, const struct sandbox_instance *instance,
                              struct strings *env)
{
    const struct function *function = instance->function;
    bool inside = sandbox->bubblewrap;
    const char *task = inside ? "/var/task" : function->code_dir;
    addf(env, "_HANDLER=%s", function->handler);
    addf(env, "LAMBDA_TASK_ROOT=%s", task);
    strings_add(env, "LAMBDA_RUNTIME_DIR=/var/runtime");
    addf(env, "AWS_LAMBDA_RUNTIME_API=%s", instance->runtime_api);
    addf(env, "AWS_LAMBDA_FUNCTION_NAME=%s", function->name);
    strings_add(env, "AWS_LAMBDA_FUNCTION_VERSION=" FUNCTION_VERSION);
    addf(env, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%u", function->memory_mib);
    strings_add(env, "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand");
    addf(env, "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/%s", function->name);
    addf(env, "AWS_LAMBDA_LOG_STREAM_NAME=%s", instance->log_stream);
    addf(env, "AWS_REGION=%s", sandbox->region);
    addf(env, "AWS_DEFAULT_REGION=%s", sandbox->region);
    ADD(env, "TZ=:UTC", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin");
    addf(env, "LD_LIBRARY_PATH=%s:%s/lib:/opt/lib", task, task);
    const char *name;
    json_t *value;
    json_object_foreach(function->variables, name, value) set_variable(env, name, json_string_value(value));
}

// --- bubblewrap's options ---

// Parents that bubblewrap makes by itself are closed to other users.
static void add_directories(struct strings *args)
{
    static const char *const paths[] = {"/etc", "/etc/ssl", "/mnt", "/opt", "/var", "/var/runtime"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        ADD(args, "--perms", "0755", "--dir", paths[i]);
}

static void isolate(const struct sandbox *sandbox, struct strings *args)
{
    ADD(args, "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox");
    if (sandbox->as_root)
        ADD(args, "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--cap-add",
            "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP");
    else
        ADD(args, "--unshare-all", "--share-net");
}

// On a merged /usr these are links into it, else directories of their own.
static void add_system(struct strings *args)
{
    static const char *const paths[] = {"/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"};
    ADD(args, "--ro-bind", "/usr", "/usr");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char target[PATH_MAX];
        ssize_t length = readlink(paths[i], target, sizeof(target) - 1);
        if (length < 0) {
            ADD(args, "--ro-bind-try", paths[i], paths[i]);
            continue;
        }
        target[length] = '\0';
        ADD(args, "--symlink", target, paths[i]);
    }
    ADD(args, "--proc", "/proc", "--dev", "/dev");
}

static void add_etc(const struct sandbox *sandbox, struct strings *args)
{
    static const char *const shared[] = {"/etc/ld.so.cache",   "/etc/alternatives", "/etc/ssl/certs",
                                         "/etc/pki/tls/certs", "/etc/resolv.conf",  "/etc/hosts",
                                         "/etc/nsswitch.conf"};
    static const char *const own[] = {"passwd", "group"};
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        ADD(args, "--ro-bind-try", shared[i], shared[i]);
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        strings_add(args, "--ro-bind");
        addf(args, "%s/%s", sandbox->etc_dir, own[i]);
        addf(args, "/etc/%s", own[i]);
    }
}

static void add_function(const struct sandbox *sandbox, const struct sandbox_instance *instance,
                         struct strings *args)
{
    const struct function *function = instance->function;
    ADD(args, "--perms", "1777", "--size");
    addf(args, "%llu", (unsigned long long)function->tmp_mib * 1024 * 1024);
    ADD(args, "--tmpfs", "/tmp", "--ro-bind", function->code_dir, "/var/task");
    if (function->runtime == FUNCTION_PYTHON)
        ADD(args, "--ro-bind", sandbox->bootstrap, "/var/runtime/bootstrap.py");
    if (function->layer_dir)
        ADD(args, "--ro-bind", function->layer_dir, "/opt");
    if (instance->mount_dir)
        ADD(args, "--bind", instance->mount_dir, function->mount_path);
    ADD(args, "--remount-ro", "/", "--chdir", "/var/task");
}

static void build_bwrap_args(const struct sandbox *sandbox, const struct sandbox_instance *instance,
                             struct strings *args)
{
    isolate(sandbox, args);
    add_system(args);
    add_directories(args);
    add_etc(sandbox, args);
    add_function(sandbox, instance, args);
    strings_add(args, "--clearenv");
    struct strings env = {0};
    build_environment(sandbox, instance, &env);
    for (size_t i = 0; i < env.count; i++) {
        char *equals = strchr(env.items[i], '=');
        *equals = '\0';
        ADD(args, "--setenv", env.items[i], equals + 1);
    }
    strings_free(&env);
}

// --- the command ---

// MemorySize bounds private writable memory of a Python function. Other runtimes reserve far more than they
// use, so for them there is no bound.
static void add_limits(const struct function *function, struct strings *argv)
{
    ADD(argv, "prlimit", "--core=0");
    addf(argv, "--nofile=%d:%d", OPEN_FILES_MAX, OPEN_FILES_MAX);
    if (function->runtime == FUNCTION_PYTHON)
        addf(argv, "--data=%llu", (unsigned long long)function->memory_mib * 1024 * 1024);
    strings_add(argv, "--");
}

static void add_program(const struct sandbox *sandbox, const struct function *function, struct strings *argv)
{
    const char *bootstrap = sandbox->bubblewrap ? "/var/runtime/bootstrap.py" : sandbox->bootstrap;
    if (function->runtime == FUNCTION_PYTHON)
        ADD(argv, function->interpreter, bootstrap);
    else
        addf(argv, "%s/bootstrap", sandbox->bubblewrap ? "/var/task" : function->code_dir);
}

void sandbox_command_build(const struct sandbox *sandbox, const struct sandbox_instance *instance,
                           struct sandbox_command *command)
{
    *command = (struct sandbox_command){0};
    add_limits(instance->function, &command->argv);
    if (sandbox->bubblewrap) {
        build_bwrap_args(sandbox, instance, &command->bwrap_args);
        strings_add(&command->env, "PATH=" PROGRAM_PATH);
        ADD(&command->argv, "bwrap", "--args");
        addf(&command->argv, "%d", SANDBOX_ARGS_FD);
        strings_add(&command->argv, "--");
    } else {
        build_environment(sandbox, instance, &command->env);
        command->cwd = instance->function->code_dir;
    }
    if (sandbox->bubblewrap && sandbox->as_root) {
        strings_add(&command->argv, "setpriv");
        addf(&command->argv, "--reuid=%d", FUNCTION_SANDBOX_UID);
        addf(&command->argv, "--regid=%d", FUNCTION_SANDBOX_GID);
        ADD(&command->argv, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--");
    }
    add_program(sandbox, instance->function, &command->argv);
}

void sandbox_command_free(struct sandbox_command *command)
{
    strings_free(&command->argv);
    strings_free(&command->env);
    strings_free(&command->bwrap_args);
}
