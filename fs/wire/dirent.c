// SPDX-License-Identifier: Apache-2.0
// Directory entries, packed one after the other in a READDIR reply:
//
//     handle, u64 cookie, u32 type, lookup_name, u8 has_attr (0 or 1), when it is 1: u8 lease, attr
//
// Pure; any thread.
#include "fs/wire/fields.h"
#include <errno.h>

bool wire_put_dirent(struct writer *entries, const struct wire_dirent *dirent)
{
    struct writer ahead = *entries;
    put_handle(&ahead, &dirent->handle);
    write_u64(&ahead, dirent->cookie);
    write_u32(&ahead, dirent->type);
    put_lookup_name(&ahead, &dirent->name);
    write_u8(&ahead, dirent->has_attr);
    if (dirent->has_attr) {
        write_u8(&ahead, dirent->lease);
        put_attr(&ahead, &dirent->attr);
    }
    if (ahead.failed || !wire_type_known(dirent->type))
        return false;
    *entries = ahead;
    return true;
}

int wire_get_dirent(struct reader *entries, struct wire_dirent *ret_dirent)
{
    if (reader_done(entries))
        return 0;
    struct wire_dirent dirent = {0};
    get_handle(entries, &dirent.handle);
    dirent.cookie = read_u64(entries);
    dirent.type = read_u32(entries);
    get_lookup_name(entries, &dirent.name);
    uint8_t has_attr = read_u8(entries);
    dirent.has_attr = has_attr == 1;
    if (dirent.has_attr) {
        dirent.lease = read_u8(entries);
        get_attr(entries, &dirent.attr);
    }
    if (has_attr > 1 || !wire_type_known(dirent.type))
        entries->failed = true;
    if (entries->failed)
        return -EPROTO;
    *ret_dirent = dirent;
    return 1;
}
