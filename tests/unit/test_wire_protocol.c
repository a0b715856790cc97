// SPDX-License-Identifier: Apache-2.0
// docs/PROTOCOL.md against the list of messages: its tables must be what messages.def and the headers say.
// Reads the page from the current directory, the repository's root. `test_wire_protocol --write` brings the
// tables up to date.
//
// A table stands between the lines `<!-- NAME -->` and `<!-- /NAME -->`; NAME is a message's, `limits` or
// `flags`.
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include "fs/wire/wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE_PATH "docs/PROTOCOL.md"
#define PAGE_MAX  ((size_t)1 << 20) // bytes

// --- tables ---

struct field {
    const char *part, *type, *name;
};

struct message {
    const char *name, *kind;
    struct field fields[64]; // the first without a name ends them
};

#define REQUEST_FIELD(type, name) {"request", #type, #name},
#define REPLY_FIELD(type, name)   {"reply", #type, #name},
#define EVENT_FIELD(type, name)   {"event", #type, #name},
#define CALL_ROW(NAME, name, number, repeatable)                                           \
    {#name,                                                                                \
     (repeatable) ? "call " #number ", may be sent again" : "call " #number ", once only", \
     {WIRE_##NAME##_REQUEST(REQUEST_FIELD) WIRE_##NAME##_REPLY(REPLY_FIELD){0}}},
#define EVENT_ROW(NAME, name, number) {#name, "event " #number, {WIRE_##NAME##_EVENT(EVENT_FIELD){0}}},

static const struct message messages[] = {WIRE_CALLS(CALL_ROW) WIRE_EVENTS(EVENT_ROW)};

PRINTF_LIKE(2, 3) static void put(struct buffer *page, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fs_assert(n >= 0 && (size_t)n < sizeof(text));
    fs_assert(buffer_append(page, text, (size_t)n) == 0);
}

static void put_message(struct buffer *page, const struct message *message)
{
    put(page, "| %s | field | type |\n|---|---|---|\n", message->kind);
    const char *part = "";
    for (const struct field *field = message->fields; field->name; field++) {
        bool new_part = strcmp(part, field->part) != 0;
        put(page, "|%s%s | `%s` | %s |\n", new_part ? " " : "", new_part ? field->part : "", field->name,
            field->type);
        part = field->part;
    }
    if (!message->fields[0].name)
        put(page, "| both empty | | |\n");
}

#define LIMIT_ROW(name, meaning) \
    put(page, "| `" #name "` | %llu | " meaning " |\n", (unsigned long long)(name));

static void put_limits(struct buffer *page)
{
    put(page, "| limit | value | of |\n|---|---|---|\n");
    LIMIT_ROW(WIRE_HEADER_SIZE, "bytes of a header")
    LIMIT_ROW(WIRE_FRAME_MAX, "bytes of a frame, header included")
    LIMIT_ROW(FS_IO_MAX, "bytes that one read, write, append or readdir moves")
    LIMIT_ROW(FS_NAME_MAX, "bytes of a name")
    LIMIT_ROW(FS_SYMLINK_MAX, "bytes of a symlink's target")
    LIMIT_ROW(WIRE_TEXT_MAX, "bytes of a text")
    LIMIT_ROW(FS_GROUPS_MAX, "groups in credentials")
    LIMIT_ROW(WIRE_INODES_MAX, "inodes in one forget or kept, opens in one closed")
    LIMIT_ROW(WIRE_FIRST_MAX, "bytes of a file that come with its open")
    LIMIT_ROW(WIRE_KEPT_OPEN_S, "seconds that an open may be kept")
    LIMIT_ROW(WIRE_NONCE_SIZE, "bytes of a greeting's nonce")
    LIMIT_ROW(WIRE_PROOF_SIZE, "bytes of a proof that is not empty")
    LIMIT_ROW(WIRE_BINDING_MAX, "bytes of a channel binding")
}

#define FLAG_ROW(where, name) \
    put(page, "|%s%s | `" #name "` | 0x%x |\n", *(where) ? " " : "", where, (unsigned)(name));

static void put_flags(struct buffer *page)
{
    put(page, "| where | name | value |\n|---|---|---|\n");
    FLAG_ROW("header `status` of a request", WIRE_WITH_CRED)
    FLAG_ROW("`lease` of a reply", WIRE_LEASE_ATTR)
    FLAG_ROW("", WIRE_LEASE_NAME)
    FLAG_ROW("", WIRE_LEASE_DATA)
    FLAG_ROW("", WIRE_LEASE_NAMES)
    FLAG_ROW("", WIRE_LEASE_OPEN)
    FLAG_ROW("invalidate `what`", WIRE_DROP_ATTR)
    FLAG_ROW("", WIRE_DROP_NAME)
    FLAG_ROW("", WIRE_DROP_NAMES)
    FLAG_ROW("", WIRE_DROP_DATA)
    FLAG_ROW("", WIRE_DROP_TREE)
    FLAG_ROW("open, create, reopen `flags`", FS_OPEN_READ)
    FLAG_ROW("", FS_OPEN_WRITE)
    FLAG_ROW("", FS_OPEN_APPEND)
    FLAG_ROW("", FS_OPEN_TRUNC)
    FLAG_ROW("", FS_OPEN_CREATE)
    FLAG_ROW("", FS_OPEN_EXCL)
    FLAG_ROW("", FS_OPEN_DIRECTORY)
    FLAG_ROW("", FS_OPEN_EXEC)
    FLAG_ROW("", FS_OPEN_SYNC)
    FLAG_ROW("", FS_OPEN_NOATIME)
    FLAG_ROW("setattr `mask`", FS_SET_MODE)
    FLAG_ROW("", FS_SET_UID)
    FLAG_ROW("", FS_SET_GID)
    FLAG_ROW("", FS_SET_SIZE)
    FLAG_ROW("", FS_SET_ATIME)
    FLAG_ROW("", FS_SET_MTIME)
    FLAG_ROW("", FS_SET_ATIME_NOW)
    FLAG_ROW("", FS_SET_MTIME_NOW)
    FLAG_ROW("", FS_SET_KILL_PRIV)
    FLAG_ROW("rename `flags`", FS_RENAME_NOREPLACE)
    FLAG_ROW("", FS_RENAME_EXCHANGE)
    FLAG_ROW("", FS_RENAME_WHITEOUT)
    FLAG_ROW("access `mask`", FS_MAY_EXEC)
    FLAG_ROW("", FS_MAY_WRITE)
    FLAG_ROW("", FS_MAY_READ)
    FLAG_ROW("hello `identity`", WIRE_IDENTITY_ENFORCED)
    FLAG_ROW("", WIRE_IDENTITY_CALLER)
    FLAG_ROW("", WIRE_IDENTITY_FIXED)
    FLAG_ROW("lock `kind`", FS_LOCK_FCNTL)
    FLAG_ROW("", FS_LOCK_FLOCK)
    FLAG_ROW("lock `type`", FS_LOCK_READ)
    FLAG_ROW("", FS_LOCK_WRITE)
    FLAG_ROW("", FS_LOCK_UNLOCK)
}

// False for a name that no table has.
static bool put_table(struct buffer *page, const char *name)
{
    if (strcmp(name, "limits") == 0) {
        put_limits(page);
        return true;
    }
    if (strcmp(name, "flags") == 0) {
        put_flags(page);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        if (strcmp(name, messages[i].name) == 0) {
            put_message(page, &messages[i]);
            return true;
        }
    }
    return false;
}

// --- the page ---

// The page as it is, NUL-terminated; the caller frees it.
static char *read_page(void)
{
    FILE *file = fopen(PAGE_PATH, "r");
    if (!file) {
        fprintf(stderr, "%s: %s; run this from the repository's root\n", PAGE_PATH, strerror(errno));
        exit(1);
    }
    char *text = calloc(1, PAGE_MAX);
    fs_assert(text);
    size_t n = fread(text, 1, PAGE_MAX - 1, file);
    fs_assert(feof(file) && n < PAGE_MAX - 1);
    fclose(file);
    return text;
}

// Copies the page with its tables made anew. Exits when an opening line has no closing one.
static void render(const char *text, struct buffer *page)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        n += text[n] == '\n';
        fs_assert(buffer_append(page, text, n) == 0);
        char name[64] = "", closing[80];
        if (sscanf(text, "<!-- %63[a-z] -->", name) == 1 && put_table(page, name)) {
            snprintf(closing, sizeof(closing), "<!-- /%s -->\n", name);
            const char *end = strstr(text, closing);
            if (!end) {
                fprintf(stderr, "%s: no line <!-- /%s -->\n", PAGE_PATH, name);
                exit(1);
            }
            text = end;
        } else {
            text += n;
        }
    }
}

static void tables_are_up_to_date(void **state UNUSED)
{
    char *text = read_page();
    struct buffer page;
    buffer_init(&page, PAGE_MAX);
    render(text, &page);
    bool same = buffer_length(&page) == strlen(text) && memcmp(buffer_data(&page), text, strlen(text)) == 0;
    if (!same)
        print_message("%s differs from fs/wire/messages.def: run `build/unit/test_wire_protocol --write`\n",
                      PAGE_PATH);
    assert_true(same);
    buffer_free(&page);
    free(text);
}

static void assert_once(const char *text, const char *name)
{
    char opening[80];
    snprintf(opening, sizeof(opening), "\n<!-- %s -->\n", name);
    const char *first = strstr(text, opening);
    if (!first || strstr(first + 1, opening))
        print_message("%s: the line <!-- %s --> must be there once\n", PAGE_PATH, name);
    assert_true(first && !strstr(first + 1, opening));
}

static void every_message_is_described(void **state UNUSED)
{
    char *text = read_page();
    assert_once(text, "limits");
    assert_once(text, "flags");
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        assert_once(text, messages[i].name);
    free(text);
}

static void every_field_type_is_described(void **state UNUSED)
{
    char *text = read_page();
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        for (const struct field *field = messages[i].fields; field->name; field++) {
            char row[64];
            snprintf(row, sizeof(row), "\n| %s | ", field->type);
            if (!strstr(text, row))
                print_message("%s: the field type %s is not described\n", PAGE_PATH, field->type);
            assert_non_null(strstr(text, row));
        }
    }
    free(text);
}

static int write_page(void)
{
    char *text = read_page();
    struct buffer page;
    buffer_init(&page, PAGE_MAX);
    render(text, &page);
    free(text);
    FILE *file = fopen(PAGE_PATH, "w");
    bool written = file && fwrite(buffer_data(&page), 1, buffer_length(&page), file) == buffer_length(&page);
    if (file)
        written = fclose(file) == 0 && written;
    if (!written)
        fprintf(stderr, "%s: %s\n", PAGE_PATH, strerror(errno));
    buffer_free(&page);
    return written ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_page();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_up_to_date),
        cmocka_unit_test(every_message_is_described),
        cmocka_unit_test(every_field_type_is_described),
    };
    return cmocka_run_group_tests_name("wire_protocol", tests, NULL, NULL);
}
