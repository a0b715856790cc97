// SPDX-License-Identifier: Apache-2.0
// The configuration file: a JSON list of functions in the shape of Lambda's CreateFunction request, with Code
// as
// {"Directory": path} and Layers as directories. Everything is checked here, once, with Lambda's own limits;
// the rest of the program trusts a struct function.
#include "fs/base/check.h"
#include "shim/function.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_SIZE_MAX    (4u * 1024 * 1024)
#define FUNCTIONS_MAX    1000u
#define TIMEOUT_DEFAULT  3
#define TIMEOUT_MAX      900
#define MEMORY_MIN       128
#define MEMORY_MAX       10240
#define STORAGE_MIN      512
#define STORAGE_MAX      10240
#define HANDLER_MAX      128u
#define MOUNT_PATH_MAX   160u
#define VARIABLES_MAX    4096u // bytes of all names and values
#define CONCURRENCY_MAX  1000
#define ACCESS_POINT_HEX 17u

// The file being read, and the spot in it, for messages.
struct spot {
    const char *file;
    char *directory; // of the file: relative paths start here
    char function[FUNCTION_NAME_MAX + 24];
    const struct config_context *context;
    char *error;
    size_t error_size;
};

PRINTF_LIKE(3, 4) static int bad(const struct spot *spot, const char *member, const char *format, ...)
{
    char text[CONFIG_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const char *of = spot->function[0] ? ": " : "";
    const char *at = member ? ": " : "";
    snprintf(spot->error, spot->error_size, "%s%s%s%s%s: %s", spot->file, of, spot->function, at,
             member ? member : "", text);
    for (char *c = spot->error; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = '?';
    return -EINVAL;
}

// Members of CreateFunction that say nothing to a local function; taken and ignored.
static const char *const ignored[] = {
    "Role",
    "Description",
    "Publish",
    "VpcConfig",
    "PackageType",
    "Tags",
    "Architectures",
    "DeadLetterConfig",
    "TracingConfig",
    "LoggingConfig",
    "RuntimeManagementConfig",
    "KMSKeyArn",
    "SnapStart",
};
static const char *const taken[] = {
    "FunctionName",     "Runtime",     "Handler",           "Code",   "Timeout",
    "MemorySize",       "Environment", "FileSystemConfigs", "Layers", "ReservedConcurrentExecutions",
    "EphemeralStorage",
};
// Set by the shim itself; Lambda refuses them too.
static const char *const reserved_variables[] = {
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
};

static bool listed(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

static bool only(const char *text, const char *also)
{
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(also, *c))
            return false;
    return *text != '\0';
}

// --- one getter for each JSON type ---

// A string without NULs, at most `max` bytes. Absent: *ret_text stays as it was.
static int get_text(const struct spot *spot, const json_t *object, const char *member, size_t max,
                    const char **ret_text)
{
    const json_t *value = json_object_get(object, member);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return bad(spot, member, "must be a string");
    if (json_string_length(value) != strlen(json_string_value(value)))
        return bad(spot, member, "must not contain NUL");
    if (json_string_length(value) == 0 || json_string_length(value) > max)
        return bad(spot, member, "must have 1 to %zu characters", max);
    *ret_text = json_string_value(value);
    return 0;
}

static int get_number(const struct spot *spot, const json_t *object, const char *member, unsigned min,
                      unsigned max, unsigned *ret_number)
{
    const json_t *value = json_object_get(object, member);
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
        return bad(spot, member, "must be a whole number from %u to %u", min, max);
    *ret_number = (unsigned)json_integer_value(value);
    return 0;
}

static int check_members(const struct spot *spot, const json_t *object, const char *of,
                         const char *const *allowed, size_t n_allowed)
{
    const char *name;
    json_t *value;
    json_object_foreach(
        (json_t *)(uintptr_t)object, name,
        value) if (!listed(name, allowed, n_allowed)) return bad(spot, of, "unknown member \"%.64s\"", name);
    return 0;
}

// --- members ---

static int load_name(struct spot *spot, const json_t *object, struct function *function)
{
    const char *name = NULL;
    int rc = get_text(spot, object, "FunctionName", FUNCTION_NAME_MAX, &name);
    if (rc < 0)
        return rc;
    if (!name)
        return bad(spot, "FunctionName", "is missing");
    if (!only(name, "-_"))
        return bad(spot, "FunctionName", "may have letters, digits, '-' and '_' only");
    function->name = strdup(name);
    fs_assert(function->name);
    snprintf(spot->function, sizeof(spot->function), "%s", name);
    int length = asprintf(&function->arn, "arn:aws:lambda:%s:%s:function:%s", spot->context->region,
                          FUNCTION_ACCOUNT_ID, name);
    fs_assert(length > 0);
    return 0;
}

static int load_directory(const struct spot *spot, const char *member, const char *path, char **ret_path)
{
    _cleanup_(freep) char *joined = NULL;
    int length =
        path[0] == '/' ? asprintf(&joined, "%s", path) : asprintf(&joined, "%s/%s", spot->directory, path);
    fs_assert(length >= 0);
    _cleanup_(freep) char *absolute = realpath(joined, NULL);
    struct stat st;
    if (!absolute || stat(absolute, &st) < 0)
        return bad(spot, member, "%s: %s", joined, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return bad(spot, member, "%s: not a directory", absolute);
    if (spot->context->code_as_other_user && (st.st_mode & 5) != 5 && st.st_uid != FUNCTION_SANDBOX_UID)
        return bad(spot, member, "%s: the sandbox's user %d cannot read it; chmod o+rx", absolute,
                   FUNCTION_SANDBOX_UID);
    *ret_path = absolute;
    absolute = NULL;
    return 0;
}

static int load_code(const struct spot *spot, const json_t *object, struct function *function)
{
    static const char *const allowed[] = {"Directory"};
    const json_t *code = json_object_get(object, "Code");
    if (!json_is_object(code))
        return bad(spot, "Code", "must be {\"Directory\": \"PATH\"}");
    int rc = check_members(spot, code, "Code", allowed, ARRAY_LEN(allowed));
    const char *path = NULL;
    if (rc == 0)
        rc = get_text(spot, code, "Directory", PATH_MAX - 1, &path);
    if (rc < 0)
        return rc;
    if (!path)
        return bad(spot, "Code", "Directory is missing");
    return load_directory(spot, "Code.Directory", path, &function->code_dir);
}

// The interpreter of the named version, else the machine's own python3.
static int find_python(const struct spot *spot, const char *runtime, struct function *function)
{
    const char *version = runtime + strlen("python");
    size_t digits = strncmp(version, "3.", 2) == 0 ? strspn(version + 2, "0123456789") : 0;
    if (digits == 0 || digits > 2 || version[2 + digits])
        return bad(spot, "Runtime", "\"%.32s\" is not a Python 3 runtime such as python3.11", runtime);
    static const char *const directories[] = {"/usr/bin", "/usr/local/bin"};
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/%s", directories[i], runtime);
        if (access(path, X_OK) == 0) {
            function->interpreter = strdup(path);
            return 0;
        }
    }
    if (access("/usr/bin/python3", X_OK) < 0)
        return bad(spot, "Runtime", "%s: no such interpreter in /usr/bin, and no python3", runtime);
    function->interpreter = strdup("/usr/bin/python3");
    return 0;
}

static int load_runtime(const struct spot *spot, const json_t *object, struct function *function)
{
    const char *runtime = NULL, *handler = NULL;
    int rc = get_text(spot, object, "Runtime", 64, &runtime);
    if (rc == 0)
        rc = get_text(spot, object, "Handler", HANDLER_MAX, &handler);
    if (rc < 0)
        return rc;
    if (!runtime)
        return bad(spot, "Runtime", "is missing");
    for (const char *c = handler ? handler : ""; *c; c++)
        if (isspace((unsigned char)*c))
            return bad(spot, "Handler", "must not contain spaces");
    char bootstrap[PATH_MAX + 16];
    snprintf(bootstrap, sizeof(bootstrap), "%s/bootstrap", function->code_dir);
    bool has_bootstrap = access(bootstrap, X_OK) == 0;
    bool python = strncmp(runtime, "python", 6) == 0;
    function->handler = strdup(handler ? handler : "bootstrap");
    if (has_bootstrap && !python) {
        function->runtime = FUNCTION_PROVIDED;
        return 0;
    }
    if (strncmp(runtime, "provided", 8) == 0)
        return bad(spot, "Runtime", "%s needs an executable file \"bootstrap\" in Code.Directory", runtime);
    if (!python)
        return bad(
            spot, "Runtime",
            "\"%.32s\" is not built; use python3.x, or provided.al2023 with an executable \"bootstrap\"",
            runtime);
    if (!handler || !strchr(handler, '.'))
        return bad(spot, "Handler", "must be MODULE.FUNCTION for a Python runtime");
    function->runtime = FUNCTION_PYTHON;
    return find_python(spot, runtime, function);
}

static int load_environment(const struct spot *spot, const json_t *object, struct function *function)
{
    static const char *const allowed[] = {"Variables"};
    const json_t *environment = json_object_get(object, "Environment");
    if (environment && !json_is_object(environment))
        return bad(spot, "Environment", "must be {\"Variables\": {...}}");
    int rc = environment ? check_members(spot, environment, "Environment", allowed, ARRAY_LEN(allowed)) : 0;
    if (rc < 0)
        return rc;
    json_t *variables = json_object_get(environment, "Variables");
    if (variables && !json_is_object(variables))
        return bad(spot, "Environment.Variables", "must be an object of strings");
    const char *name;
    json_t *value;
    size_t total = 0;
    json_object_foreach(variables, name, value)
    {
        if (!only(name, "_") || !isalpha((unsigned char)name[0]) || name[1] == '\0')
            return bad(spot, "Environment.Variables",
                       "\"%.64s\": a name starts with a letter and has two or more letters, digits or '_'",
                       name);
        if (listed(name, reserved_variables, ARRAY_LEN(reserved_variables)))
            return bad(spot, "Environment.Variables", "\"%s\" is reserved", name);
        if (!json_is_string(value) || json_string_length(value) != strlen(json_string_value(value)))
            return bad(spot, "Environment.Variables", "\"%.64s\" must be a string without NUL", name);
        total += strlen(name) + json_string_length(value);
    }
    if (total > VARIABLES_MAX)
        return bad(spot, "Environment.Variables", "has %zu bytes, at most %u are allowed", total,
                   VARIABLES_MAX);
    function->variables = variables ? json_incref(variables) : json_object();
    return 0;
}

static bool is_mount(const char *path)
{
    struct stat here, above;
    char parent[PATH_MAX];
    snprintf(parent, sizeof(parent), "%s/..", path);
    return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

static int load_mount_path(const struct spot *spot, const char *path, struct function *function)
{
    static const char prefix[] = "/mnt/";
    const char *name = path + strlen(prefix);
    if (strncmp(path, prefix, strlen(prefix)) != 0 || !only(name, "-_.") || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return bad(spot, "FileSystemConfigs",
                   "LocalMountPath must be /mnt/NAME with letters, digits, '-', '_', '.'");
    if (spot->context->host_paths && !is_mount(path))
        return bad(
            spot, "FileSystemConfigs",
            "--sandbox none mounts nothing, and %s is not a mount; mount it first or use --sandbox bwrap",
            path);
    function->mount_path = strdup(path);
    return 0;
}

// arn:aws:elasticfilesystem:REGION:ACCOUNT:access-point/fsap-HEX17
static int load_access_point(const struct spot *spot, const char *arn, struct function *function)
{
    static const char *const parts[] = {"arn", NULL, "elasticfilesystem", NULL, NULL};
    char *copy = strdup(arn), *rest = copy;
    fs_assert(copy);
    bool good = true;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const char *part = strsep(&rest, ":");
        good = good && part && *part && (!parts[i] || strcmp(part, parts[i]) == 0);
    }
    static const char kind[] = "access-point/fsap-";
    good = good && rest && strncmp(rest, kind, strlen(kind)) == 0;
    const char *hex = good ? rest + strlen(kind) : "";
    good = strlen(hex) == ACCESS_POINT_HEX && strspn(hex, "0123456789abcdef") == ACCESS_POINT_HEX;
    free(copy);
    if (!good)
        return bad(spot, "FileSystemConfigs",
                   "Arn \"%.128s\" is not arn:aws:elasticfilesystem:REGION:ACCOUNT:access-point/fsap-(17 hex "
                   "digits)",
                   arn);
    function->access_point_arn = strdup(arn);
    fs_assert(function->access_point_arn);
    function->access_point_id = strrchr(function->access_point_arn, '/') + 1;
    return 0;
}

static int load_file_system(const struct spot *spot, const json_t *object, struct function *function)
{
    static const char *const allowed[] = {"Arn", "LocalMountPath"};
    const json_t *list = json_object_get(object, "FileSystemConfigs");
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > 1)
        return bad(spot, "FileSystemConfigs", "must be a list of at most one file system");
    if (json_array_size(list) == 0)
        return 0;
    const json_t *config = json_array_get(list, 0);
    if (!json_is_object(config))
        return bad(spot, "FileSystemConfigs", "must hold {\"Arn\": ..., \"LocalMountPath\": ...}");
    const char *arn = NULL, *path = NULL;
    int rc = check_members(spot, config, "FileSystemConfigs", allowed, ARRAY_LEN(allowed));
    if (rc == 0)
        rc = get_text(spot, config, "Arn", 200, &arn);
    if (rc == 0)
        rc = get_text(spot, config, "LocalMountPath", MOUNT_PATH_MAX, &path);
    if (rc < 0)
        return rc;
    if (!arn || !path)
        return bad(spot, "FileSystemConfigs", "%s is missing", arn ? "LocalMountPath" : "Arn");
    rc = load_access_point(spot, arn, function);
    return rc < 0 ? rc : load_mount_path(spot, path, function);
}

static int load_layer(const struct spot *spot, const json_t *object, struct function *function)
{
    const json_t *list = json_object_get(object, "Layers");
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > 1)
        return bad(spot, "Layers", "must be a list of at most one directory");
    if (json_array_size(list) == 0)
        return 0;
    const json_t *layer = json_array_get(list, 0);
    if (!json_is_string(layer) || json_string_length(layer) == 0)
        return bad(spot, "Layers", "must hold the path of a directory");
    return load_directory(spot, "Layers", json_string_value(layer), &function->layer_dir);
}

static int load_limits(const struct spot *spot, const json_t *object, struct function *function)
{
    function->timeout_seconds = TIMEOUT_DEFAULT;
    function->memory_mib = MEMORY_MIN;
    function->tmp_mib = STORAGE_MIN;
    function->max_instances = spot->context->default_max_instances;
    const json_t *storage = json_object_get(object, "EphemeralStorage");
    if (storage && !json_is_object(storage))
        return bad(spot, "EphemeralStorage", "must be {\"Size\": MIB}");
    int rc = get_number(spot, object, "Timeout", 1, TIMEOUT_MAX, &function->timeout_seconds);
    if (rc == 0)
        rc = get_number(spot, object, "MemorySize", MEMORY_MIN, MEMORY_MAX, &function->memory_mib);
    if (rc == 0)
        rc = get_number(spot, object, "ReservedConcurrentExecutions", 0, CONCURRENCY_MAX,
                        &function->max_instances);
    if (rc == 0 && storage)
        rc = get_number(spot, storage, "Size", STORAGE_MIN, STORAGE_MAX, &function->tmp_mib);
    return rc;
}

static int load_function(struct spot *spot, const json_t *object, size_t index, struct function *function)
{
    snprintf(spot->function, sizeof(spot->function), "function %zu", index + 1);
    if (!json_is_object(object))
        return bad(spot, NULL, "must be an object");
    int rc = load_name(spot, object, function);
    if (rc < 0)
        return rc;
    const char *name;
    json_t *value;
    json_object_foreach(
        (json_t *)(uintptr_t)object, name,
        value) if (!listed(name, taken, ARRAY_LEN(taken)) &&
                   !listed(name, ignored, ARRAY_LEN(ignored))) return bad(spot, NULL,
                                                                          "unknown member \"%.64s\"", name);
    static int (*const loaders[])(const struct spot *, const json_t *, struct function *) = {
        load_code, load_runtime, load_environment, load_file_system, load_layer, load_limits};
    for (size_t i = 0; i < ARRAY_LEN(loaders) && rc == 0; i++)
        rc = loaders[i](spot, object, function);
    return rc;
}

// --- the file ---

static int load_list(struct spot *spot, const json_t *root, struct functions *functions)
{
    size_t count = json_array_size(root);
    if (!json_is_array(root) || count > FUNCTIONS_MAX)
        return bad(spot, NULL, "must be a list of at most %u functions", FUNCTIONS_MAX);
    functions->items = calloc(count + 1, sizeof(*functions->items));
    fs_assert(functions->items);
    for (size_t i = 0; i < count; i++) {
        struct function *function = &functions->items[functions->count++];
        int rc = load_function(spot, json_array_get(root, i), i, function);
        if (rc < 0)
            return rc;
        fs_assert(function->name);
        if (functions_find(functions, function->name, strlen(function->name)) != function)
            return bad(spot, "FunctionName", "is used twice");
    }
    return 0;
}

static int read_json(const struct spot *spot, json_t **ret_root)
{
    struct stat st;
    if (stat(spot->file, &st) < 0 && errno == ENOENT)
        return bad(spot, NULL, "no such file; --config names the JSON list of functions (man berth-fn)");
    if (stat(spot->file, &st) < 0)
        return bad(spot, NULL, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
        return bad(spot, NULL,
                   "not a regular file of at most %u bytes; --config names the JSON list of functions",
                   FILE_SIZE_MAX);
    json_error_t why;
    json_t *root = json_load_file(spot->file, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return bad(spot, NULL, "line %d: %s", why.line, why.text);
    *ret_root = root;
    return 0;
}

int config_load(const char *path, const struct config_context *context, struct functions *ret_functions,
                char *error, size_t error_size)
{
    struct spot spot = {.file = path, .context = context, .error = error, .error_size = error_size};
    json_t *root = NULL;
    int rc = read_json(&spot, &root);
    if (rc < 0)
        return rc;
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    fs_assert(directory);
    spot.directory = directory;
    struct functions functions = {0};
    rc = load_list(&spot, root, &functions);
    json_decref(root);
    if (rc < 0)
        functions_free(&functions);
    else
        *ret_functions = functions;
    return rc;
}

void functions_free(struct functions *functions)
{
    for (size_t i = 0; i < functions->count; i++) {
        struct function *function = &functions->items[i];
        free(function->name);
        free(function->arn);
        free(function->interpreter);
        free(function->handler);
        free(function->code_dir);
        free(function->layer_dir);
        free(function->access_point_arn);
        free(function->mount_path);
        json_decref(function->variables);
    }
    free(functions->items);
    *functions = (struct functions){0};
}

struct function *functions_find(const struct functions *functions, const char *name, size_t name_size)
{
    for (size_t i = 0; i < functions->count; i++) {
        const char *own = functions->items[i].name;
        if (own && strlen(own) == name_size && memcmp(own, name, name_size) == 0)
            return &functions->items[i];
    }
    return NULL;
}
