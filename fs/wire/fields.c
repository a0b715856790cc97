// SPDX-License-Identifier: Apache-2.0
// Field types as bytes. Invariant: for every type, get accepts exactly what put writes. Pure; any thread.
#include "fs/wire/fields.h"
#include <string.h>

#define NSEC_LIMIT 1000000000u

// --- numbers ---

#define NUMBER_CODEC(type)                                         \
    void get_##type(struct reader *body, wire_##type *ret)         \
    {                                                              \
        *ret = read_##type(body);                                  \
    }                                                              \
    void put_##type(struct writer *body, const wire_##type *value) \
    {                                                              \
        write_##type(body, *value);                                \
    }
NUMBER_CODEC(u8)
NUMBER_CODEC(u16)
NUMBER_CODEC(u32)
NUMBER_CODEC(u64)
#undef NUMBER_CODEC

void get_handle(struct reader *body, wire_handle *ret)
{
    ret->ino = read_u64(body);
    ret->mac = read_u64(body);
}

void put_handle(struct writer *body, const wire_handle *value)
{
    write_u64(body, value->ino);
    write_u64(body, value->mac);
}

// --- strings ---

static bool name_valid(struct fs_name name)
{
    return fs_name_check(name) == 0;
}

static bool lookup_name_valid(struct fs_name name)
{
    bool dot = name.length == 1 && name.bytes[0] == '.';
    bool dot_dot = name.length == 2 && memcmp(name.bytes, "..", 2) == 0;
    return dot || dot_dot || name_valid(name);
}

static bool text_valid(wire_text text)
{
    return text.length <= WIRE_TEXT_MAX && (text.length == 0 || !memchr(text.bytes, '\0', text.length));
}

static struct fs_name get_name_if(struct reader *body, bool (*valid)(struct fs_name))
{
    struct fs_name name = {.length = read_u16(body)};
    name.bytes = (const char *)read_bytes(body, name.length);
    if (!body->failed && valid(name))
        return name;
    body->failed = true;
    return (struct fs_name){0};
}

static void put_name_if(struct writer *body, struct fs_name name, bool (*valid)(struct fs_name))
{
    if (!valid(name)) {
        body->failed = true;
        return;
    }
    write_u16(body, (uint16_t)name.length);
    write_bytes(body, name.bytes, name.length);
}

void get_name(struct reader *body, wire_name *ret)
{
    *ret = get_name_if(body, name_valid);
}

void put_name(struct writer *body, const wire_name *value)
{
    put_name_if(body, *value, name_valid);
}

void get_lookup_name(struct reader *body, wire_lookup_name *ret)
{
    *ret = get_name_if(body, lookup_name_valid);
}

void put_lookup_name(struct writer *body, const wire_lookup_name *value)
{
    put_name_if(body, *value, lookup_name_valid);
}

void get_text(struct reader *body, wire_text *ret)
{
    wire_text text = {.length = read_u16(body)};
    text.bytes = (const char *)read_bytes(body, text.length);
    if (body->failed || !text_valid(text)) {
        body->failed = true;
        text = (wire_text){0};
    }
    *ret = text;
}

void put_text(struct writer *body, const wire_text *value)
{
    if (!text_valid(*value)) {
        body->failed = true;
        return;
    }
    write_u16(body, value->length);
    write_bytes(body, value->bytes, value->length);
}

void get_bytes(struct reader *body, wire_bytes *ret)
{
    uint32_t length = read_u32(body);
    const uint8_t *bytes = read_bytes(body, length);
    *ret = bytes ? (wire_bytes){.bytes = bytes, .length = length} : (wire_bytes){0};
}

void put_bytes(struct writer *body, const wire_bytes *value)
{
    write_u32(body, value->length);
    write_bytes(body, value->bytes, value->length);
}

// --- times and attributes ---

void get_time(struct reader *body, wire_time *ret)
{
    ret->sec = (int64_t)read_u64(body);
    ret->nsec = read_u32(body);
    if (ret->nsec >= NSEC_LIMIT) {
        body->failed = true;
        *ret = (wire_time){0};
    }
}

void put_time(struct writer *body, const wire_time *value)
{
    if (value->nsec >= NSEC_LIMIT)
        body->failed = true;
    write_u64(body, (uint64_t)value->sec);
    write_u32(body, value->nsec);
}

bool wire_type_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return false;
    }
}

static bool attr_valid(const wire_attr *attr)
{
    return wire_type_known(attr->mode) && attr->size <= FS_FILE_SIZE_MAX;
}

void get_attr(struct reader *body, wire_attr *ret)
{
    ret->ino = read_u64(body);
    ret->mode = read_u32(body);
    ret->nlink = read_u32(body);
    ret->uid = read_u32(body);
    ret->gid = read_u32(body);
    ret->rdev = read_u32(body);
    ret->size = read_u64(body);
    ret->blocks = read_u64(body);
    get_time(body, &ret->atime);
    get_time(body, &ret->mtime);
    get_time(body, &ret->ctime);
    get_time(body, &ret->btime);
    if (!attr_valid(ret))
        body->failed = true;
}

void put_attr(struct writer *body, const wire_attr *value)
{
    if (!attr_valid(value))
        body->failed = true;
    write_u64(body, value->ino);
    write_u32(body, value->mode);
    write_u32(body, value->nlink);
    write_u32(body, value->uid);
    write_u32(body, value->gid);
    write_u32(body, value->rdev);
    write_u64(body, value->size);
    write_u64(body, value->blocks);
    put_time(body, &value->atime);
    put_time(body, &value->mtime);
    put_time(body, &value->ctime);
    put_time(body, &value->btime);
}

void get_entry(struct reader *body, wire_entry *ret)
{
    get_handle(body, &ret->handle);
    get_attr(body, &ret->attr);
}

void put_entry(struct writer *body, const wire_entry *value)
{
    put_handle(body, &value->handle);
    put_attr(body, &value->attr);
}

void get_maybe_entry(struct reader *body, wire_maybe_entry *ret)
{
    uint8_t there = read_u8(body);
    *ret = (wire_maybe_entry){.there = there == 1};
    if (ret->there)
        get_entry(body, &ret->entry);
    if (there > 1)
        body->failed = true;
}
void put_maybe_entry(struct writer *body, const wire_maybe_entry *value)
{
    write_u8(body, value->there);
    if (value->there)
        put_entry(body, &value->entry);
}

// --- locks ---

static bool lock_range_valid(const wire_lock *lock)
{
    return lock->start <= lock->end && lock->end <= INT64_MAX;
}

void get_lock(struct reader *body, wire_lock *ret)
{
    uint8_t kind = read_u8(body);
    uint8_t type = read_u8(body);
    ret->start = read_u64(body);
    ret->end = read_u64(body);
    ret->owner = read_u64(body);
    ret->pid = read_u32(body);
    bool known = kind <= FS_LOCK_FLOCK && type <= FS_LOCK_UNLOCK;
    ret->kind = known ? (enum fs_lock_kind)kind : FS_LOCK_FCNTL;
    ret->type = known ? (enum fs_lock_type)type : FS_LOCK_UNLOCK;
    if (!known || !lock_range_valid(ret))
        body->failed = true;
}

void put_lock(struct writer *body, const wire_lock *value)
{
    if (value->kind > FS_LOCK_FLOCK || value->type > FS_LOCK_UNLOCK || !lock_range_valid(value))
        body->failed = true;
    write_u8(body, (uint8_t)value->kind);
    write_u8(body, (uint8_t)value->type);
    write_u64(body, value->start);
    write_u64(body, value->end);
    write_u64(body, value->owner);
    write_u32(body, value->pid);
}
