// SPDX-License-Identifier: Apache-2.0
// Leveled log to stderr, one line an event, plain or JSON. Any thread; a line is written with one write(2).
//
// An event has a name and key=value fields: log_info("attach", "fs=%s ap=%s peer=%s", ...). The format must
// be space-separated key=%x pairs; values are escaped by log_text() when a peer chose them.
#ifndef BERTH_BASE_LOG_H
#define BERTH_BASE_LOG_H

#include "fs/base/check.h"
#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

// Once, before threads start. Default: LOG_INFO, plain.
void log_setup(const char *program, enum log_level level, bool json);

// "debug", "info", "warn" or "error"; -EINVAL for anything else.
int log_level_parse(const char *text, enum log_level *ret_level);

bool log_enabled(enum log_level level);
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(...) log_event(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_event(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_event(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_event(LOG_ERROR, __VA_ARGS__)

// Copies n bytes of untrusted text into out as one printable, quoted word ("a\x0ab"), cut to fit; returns
// out.
const char *log_text(char *out, size_t out_size, const void *bytes, size_t n);

#endif
