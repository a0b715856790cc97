// SPDX-License-Identifier: Apache-2.0
// The VFS under the store's databases; see sqlite_vfs.c.
#ifndef BERTH_STORE_SQLITE_VFS_H
#define BERTH_STORE_SQLITE_VFS_H

#define VFS_NAME "berth"

void vfs_register(void); // any thread; again is harmless

#endif
