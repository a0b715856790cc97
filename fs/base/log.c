// SPDX-License-Identifier: Apache-2.0
// Leveled log. Invariant: a line is one event, whatever is in its values, and leaves with one write(2); what
// does not fit is cut, and the line says so. Any thread: the settings are fixed before threads start,
// everything else is local.
//
// The format string names the keys; the rendered text is split at them, in order. A value that log_text()
// made is skipped as one word, so what a peer chose cannot pass for a key.
#include "fs/base/log.h"
#include "fs/base/env.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define TEXT_SIZE 4096u // the rendered fields of one event; longer ones are cut
// The finished line: a byte becomes at most five (`\\xNN` in JSON), a field of at least three bytes gains
// at most five (`,"":""` for ` =`), and the line's start and end take the rest.
#define LINE_SIZE (TEXT_SIZE * 5 + TEXT_SIZE / 3 * 5 + 1024)

static struct {
    const char *program;
    enum log_level level;
    bool json;
} settings = {.program = "", .level = LOG_INFO};

static atomic_uint lines_dropped; // standard error could not take them; the next line says how many

static const char *const level_words[] = {"debug", "info", "warn", "error"};
static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void log_setup(const char *program, enum log_level level, bool json)
{
    settings.program = program;
    settings.level = level;
    settings.json = json;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_words); i++) {
        if (strcmp(text, level_words[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool log_enabled(enum log_level level)
{
    return level >= settings.level;
}

// --- a line under construction ---

struct line {
    char bytes[LINE_SIZE];
    size_t length;
};

struct span {
    const char *at;
    size_t length;
};

static void line_put(struct line *line, struct span text)
{
    fs_assert(text.length <= LINE_SIZE - line->length);
    memcpy(line->bytes + line->length, text.at, text.length);
    line->length += text.length;
}

static void line_puts(struct line *line, const char *text)
{
    line_put(line, (struct span){text, strlen(text)});
}

static bool is_printable(char c)
{
    return c >= ' ' && c < 0x7f;
}

// One byte as it stands between quotes: printable ASCII as it is, anything else as \xNN.
static struct span escape_byte(char out[4], char c)
{
    static const char digits[] = "0123456789abcdef";
    if (is_printable(c) && c != '"' && c != '\\') {
        out[0] = c;
        return (struct span){out, 1};
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[(uint8_t)c >> 4];
    out[3] = digits[(uint8_t)c & 15];
    return (struct span){out, 4};
}

const char *log_text(char *out, size_t out_size, const void *bytes, size_t n)
{
    static const char cut_end[] = "...\"";
    fs_assert(out_size >= 1 + sizeof(cut_end));
    const char *text = bytes;
    size_t used = 0, cut_at = 0; // cut_at: the furthest place where the cut's end still fits
    out[used++] = '"';
    for (size_t i = 0; i < n; i++) {
        char one[4];
        struct span escaped = escape_byte(one, text[i]);
        if (used <= out_size - sizeof(cut_end))
            cut_at = used;
        if (escaped.length > out_size - sizeof("\"") - used) {
            memcpy(out + cut_at, cut_end, sizeof(cut_end));
            return out;
        }
        memcpy(out + used, escaped.at, escaped.length);
        used += escaped.length;
    }
    memcpy(out + used, "\"", sizeof("\""));
    return out;
}

// --- values ---

// The length of the word that text starts with when log_text() made it, quotes included, else 0.
static size_t quoted_length(struct span text)
{
    if (text.length == 0 || text.at[0] != '"')
        return 0;
    size_t i = 1;
    while (i < text.length && is_printable(text.at[i]) && text.at[i] != '"')
        i++;
    return i < text.length && text.at[i] == '"' ? i + 1 : 0;
}

static bool is_quoted_word(struct span value)
{
    return value.length > 0 && quoted_length(value) == value.length;
}

static bool is_bare_word(struct span value)
{
    for (size_t i = 0; i < value.length; i++) {
        if (!is_printable(value.at[i]) || strchr(" \"\\=", value.at[i]))
            return false;
    }
    return value.length > 0;
}

static void put_plain_value(struct line *line, struct span value)
{
    if (is_bare_word(value) || is_quoted_word(value)) {
        line_put(line, value);
        return;
    }
    line_puts(line, "\"");
    for (size_t i = 0; i < value.length; i++) {
        char out[4];
        line_put(line, escape_byte(out, value.at[i]));
    }
    line_puts(line, "\"");
}

// The same text that plain mode shows between quotes, as a JSON string: arbitrary bytes stay \xNN, their
// backslash escaped once more.
static void put_json_value(struct line *line, struct span value)
{
    bool quoted = is_quoted_word(value);
    struct span inner = quoted ? (struct span){value.at + 1, value.length - 2} : value;
    line_puts(line, "\"");
    for (size_t i = 0; i < inner.length; i++) {
        char out[4];
        struct span text = quoted ? (struct span){&inner.at[i], 1} : escape_byte(out, inner.at[i]);
        if (text.at[0] == '\\')
            line_puts(line, "\\");
        line_put(line, text);
    }
    line_puts(line, "\"");
}

static void put_field(struct line *line, struct span key, struct span value)
{
    line_puts(line, settings.json ? ",\"" : " ");
    line_put(line, key);
    line_puts(line, settings.json ? "\":" : "=");
    if (settings.json)
        put_json_value(line, value);
    else
        put_plain_value(line, value);
}

static void put_text_field(struct line *line, const char *key, const char *value)
{
    put_field(line, (struct span){key, strlen(key)}, (struct span){value, strlen(value)});
}

// --- fields ---

// The next key of a format, which is left behind its '='; empty at the end.
static struct span next_key(const char **format)
{
    const char *word = *format;
    while (*word) {
        size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (n > 0 && word[n] == '=') {
            *format = word + n + 1;
            return (struct span){word, n};
        }
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    *format = word;
    return (struct span){word, 0};
}

// Where in text " key=" starts, or the end of text.
static size_t find_key(struct span text, struct span key)
{
    for (size_t i = quoted_length(text); i + key.length + 2 <= text.length; i++) {
        const char *at = text.at + i;
        if (at[0] == ' ' && at[1 + key.length] == '=' && memcmp(at + 1, key.at, key.length) == 0)
            return i;
    }
    return text.length;
}

// Splits the rendered text at the keys of its format. What stands before the first key becomes the field
// `text`.
static void put_fields(struct line *line, const char *format, struct span text)
{
    const char *format_rest = format;
    struct span key = next_key(&format_rest);
    if (key.at == format && key.length > 0) {
        text.at += key.length + 1;
        text.length -= key.length + 1;
    } else {
        format_rest = format;
        key = (struct span){"text", 4};
    }
    for (;;) {
        struct span next = next_key(&format_rest);
        size_t length = next.length > 0 ? find_key(text, next) : text.length;
        put_field(line, key, (struct span){text.at, length});
        if (length == text.length)
            return;
        key = next;
        text.at += length + next.length + 2;
        text.length -= length + next.length + 2;
    }
}

// --- the line ---

static void put_start(struct line *line, enum log_level level, const char *event)
{
    uint64_t now_ns = env_realtime_ns(&env_system);
    time_t sec = (time_t)(now_ns / 1000000000u);
    unsigned ms = (unsigned)(now_ns % 1000000000u / 1000000u);
    struct tm utc;
    gmtime_r(&sec, &utc);
    char time[64];
    size_t n = strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(time + n, sizeof(time) - n, ".%03uZ", ms);

    if (!settings.json) {
        line_puts(line, time);
        line_puts(line, " ");
        line_puts(line, level_names[level]);
        line_puts(line, " ");
        line_puts(line, event);
        return;
    }
    line_puts(line, "{\"time\":\"");
    line_puts(line, time);
    line_puts(line, "\"");
    put_text_field(line, "level", level_words[level]);
    put_text_field(line, "program", settings.program);
    put_text_field(line, "event", event);
}

// False when standard error is a full pipe that does not block.
static bool write_line(const struct line *line)
{
    ssize_t n;
    do {
        n = write(STDERR_FILENO, line->bytes, line->length);
    } while (n < 0 && errno == EINTR);
    return n >= 0 || errno != EAGAIN;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char text[TEXT_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t length = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);

    struct line line;
    line.length = 0;
    put_start(&line, level, event);
    if (length > 0)
        put_fields(&line, format, (struct span){text, length});
    if (n < 0 || length < (size_t)n)
        put_text_field(&line, "cut", "yes");
    unsigned dropped = atomic_exchange(&lines_dropped, 0);
    if (dropped > 0) {
        char count[16];
        snprintf(count, sizeof(count), "%u", dropped);
        put_text_field(&line, "lines_dropped", count);
    }
    line_puts(&line, settings.json ? "}\n" : "\n");
    if (!write_line(&line))
        atomic_fetch_add(&lines_dropped, dropped + 1);
    errno = saved_errno;
}
