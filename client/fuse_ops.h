// SPDX-License-Identifier: Apache-2.0
// The operations that the kernel asks for, each in the file of its group; fuse_session.c makes the table.
// Loop's thread.
#ifndef BERTH_CLIENT_FUSE_OPS_H
#define BERTH_CLIENT_FUSE_OPS_H

#include "client/request.h"

// fuse_name.c
void op_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t fuse, fuse_ino_t id, uint64_t n_lookups);
void op_forget_multi(fuse_req_t fuse, size_t n, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t fuse, fuse_ino_t id);
void op_link(fuse_req_t fuse, fuse_ino_t id, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned int flags);

// fuse_attr.c
void op_getattr(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi);
void op_setattr(fuse_req_t fuse, fuse_ino_t id, struct stat *attr, int to_set, struct fuse_file_info *fi);
void op_access(fuse_req_t fuse, fuse_ino_t id, int mask);
void op_statfs(fuse_req_t fuse, fuse_ino_t id);

// fuse_xattr.c
void op_getxattr(fuse_req_t fuse, fuse_ino_t id, const char *name, size_t size);
void op_listxattr(fuse_req_t fuse, fuse_ino_t id, size_t size);
void op_setxattr(fuse_req_t fuse, fuse_ino_t id, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t fuse, fuse_ino_t id, const char *name);

// fuse_open.c
void op_open(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi);
void op_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_opendir(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi);
void op_release(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi);

// fuse_data.c
void op_read(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t fuse, fuse_ino_t id, const char *bytes, size_t size, off_t offset,
              struct fuse_file_info *fi);
void op_fsync(fuse_req_t fuse, fuse_ino_t id, int data_only, struct fuse_file_info *fi);

// fuse_range.c
void op_fallocate(fuse_req_t fuse, fuse_ino_t id, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi);
void op_lseek(fuse_req_t fuse, fuse_ino_t id, off_t offset, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t fuse, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi,
                        fuse_ino_t to, off_t offset, struct fuse_file_info *fi, size_t length, int flags);

// fuse_dir.c
void op_readdir(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t cookie, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t cookie, struct fuse_file_info *fi);

// fuse_lock.c
void op_getlk(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, struct flock *lock);
void op_setlk(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, struct flock *lock, int wait);
void op_flock(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, int operation);
void op_flush(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi);

#endif
