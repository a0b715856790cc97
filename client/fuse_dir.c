// SPDX-License-Identifier: Apache-2.0
// Listings: a page of entries from the server, re-encoded for the kernel. Loop's thread; see request.h.
// Invariant: the kernel counts a lookup for each entry that comes with attributes and that it was given, and
// so do we.
#include "client/fuse_ops.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READDIR_ROOM 64u

struct page {
    struct request *request;
    bool counts;     // towards knowing the whole directory
    uint64_t cookie; // of the last entry that fitted
    char *bytes;
    size_t size, used;
};

static bool is_dots(struct fs_name name)
{
    return (name.length == 1 || name.length == 2) && memcmp(name.bytes, "..", name.length) == 0;
}

// An entry that is only named: the kernel looks it up when somebody asks.
static void name_only(const struct wire_dirent *entry, struct fuse_entry_param *ret_param)
{
    *ret_param = (struct fuse_entry_param){.attr = {.st_ino = entry->handle.ino, .st_mode = entry->type}};
}

// False: it does not fit.
static bool add_plain(struct page *page, const struct wire_dirent *entry, const char *name)
{
    struct fuse_entry_param param;
    name_only(entry, &param);
    size_t left = page->size - page->used;
    size_t n = fuse_add_direntry(page->request->fuse, page->bytes + page->used, left, name, &param.attr,
                                 (off_t)entry->cookie);
    if (n > left)
        return false;
    page->used += n;
    return true;
}

static bool add_plus(struct page *page, const struct wire_dirent *entry, const char *name)
{
    struct mount *mount = page->request->mount;
    struct fuse_entry_param param;
    name_only(entry, &param);
    size_t left = page->size - page->used;
    if (fuse_add_direntry_plus(page->request->fuse, NULL, 0, name, &param, 0) > left)
        return false;
    struct node *node = NULL;
    if (entry->has_attr && !is_dots(entry->name))
        node = nodes_lookup(&mount->nodes, entry->handle, page->request->directories[0]);
    if (node) {
        const wire_entry shown = {.handle = entry->handle, .attr = entry->attr};
        page->request->names[0] = nodes_name(page->request->directories[0], entry->name);
        request_entry(page->request, node, &shown, entry->lease, &param);
    }
    page->used += fuse_add_direntry_plus(page->request->fuse, page->bytes + page->used, left, name, &param,
                                         (off_t)entry->cookie);
    return true;
}

// Calls add for each entry until one does not fit: then 1. -EPROTO.
static int fill(struct page *page, struct reader entries)
{
    struct wire_dirent entry;
    char name[FS_NAME_MAX + 1];
    int more;
    while ((more = wire_get_dirent(&entries, &entry)) == 1) {
        memcpy(name, entry.name.bytes, entry.name.length);
        name[entry.name.length] = '\0';
        if (!(page->request->plus ? add_plus : add_plain)(page, &entry, name))
            return 1;
        page->cookie = entry.cookie;
        if (page->counts && !is_dots(entry.name))
            whole_page_name(&page->request->mount->whole, page->request->directories[0], entry.name);
    }
    return more;
}

// The page's names become known with a lease alone, whatever of it fits.
static void begin_page(struct page *page, uint8_t lease)
{
    struct request *request = page->request;
    struct mount *mount = request->mount;
    struct node *node = nodes_get(&mount->nodes, request->directories[0]);
    page->cookie = request->offset;
    if (!node ||
        !(lease_granted(&mount->lease, node->handle.ino, lease, request->call.again) & WIRE_LEASE_NAMES))
        return;
    node->lease |= WIRE_LEASE_NAME;
    page->counts = whole_page(&mount->whole, node->id.key, request->open_id, request->offset);
}

// The kernel did not take the page: its lookups did not happen.
static void take_back(struct page *page, struct reader entries)
{
    struct nodes *nodes = &page->request->mount->nodes;
    struct wire_dirent entry;
    size_t used = 0;
    while (page->request->plus && wire_get_dirent(&entries, &entry) == 1) {
        char name[FS_NAME_MAX + 1];
        memcpy(name, entry.name.bytes, entry.name.length);
        name[entry.name.length] = '\0';
        used += fuse_add_direntry_plus(page->request->fuse, NULL, 0, name, NULL, 0);
        if (used > page->used)
            return;
        struct node *node = nodes_get(nodes, nodes_id_of(nodes, entry.handle.ino));
        if (entry.has_attr && !is_dots(entry.name) && node)
            nodes_forget(nodes, node, 1);
    }
}

static void readdir_done(struct request *request, struct reader *body)
{
    struct wire_readdir_reply reply;
    if (!request->fuse)
        return;
    struct page page = {.request = request, .bytes = malloc(request->size), .size = request->size};
    int result = page.bytes ? 0 : -ENOMEM;
    if (result == 0 && wire_get_readdir_reply(body, &reply) < 0)
        result = -EIO;
    if (result < 0) {
        request_fail(request, result);
        free(page.bytes);
        return;
    }
    struct reader entries = reader_on(reply.entries.bytes, reply.entries.length);
    begin_page(&page, reply.lease);
    result = fill(&page, entries);
    if (result < 0) {
        take_back(&page, entries);
        request_fail(request, -EIO);
    } else if (fuse_reply_buf(request->fuse, page.bytes, page.used) != 0) {
        take_back(&page, entries);
    }
    if (page.counts && result >= 0)
        whole_page_end(&request->mount->whole, request->directories[0], page.cookie,
                       result == 0 && reply.end);
    request->fuse = NULL;
    free(page.bytes);
}

// How much to ask for: with attributes our entries are shorter than the kernel's, 143 bytes against 176 for a
// name of 20, and what does not fit is asked for again.
static uint32_t page_bytes(size_t size, bool plus)
{
    return (uint32_t)MIN(plus ? size * 13 / 16 : size, FS_IO_MAX);
}

static void list(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t cookie, const struct fuse_file_info *fi,
                 bool plus)
{
    if (fi->fh == 0) {
        fuse_reply_err(fuse, ENOENT); // as of every removed directory
        return;
    }
    if (!request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_READDIR, READDIR_ROOM, readdir_done);
    if (!request)
        return;
    request->directories[0] = id;
    request->open_id = fi->fh;
    request->offset = (uint64_t)cookie;
    request->size = size;
    request->plus = plus;
    struct wire_readdir_request message = {
        .open_id = fi->fh, .cookie = (uint64_t)cookie, .n = page_bytes(size, plus), .with_attributes = plus};
    wire_put_readdir_request(&request->body, &message);
    request_send(request);
}

void op_readdir(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t cookie, struct fuse_file_info *fi)
{
    list(fuse, id, size, cookie, fi, false);
}

void op_readdirplus(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t cookie, struct fuse_file_info *fi)
{
    list(fuse, id, size, cookie, fi, true);
}
