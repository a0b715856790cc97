// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked ring list. The head is a node of its own; an unlinked node points at itself, so
// removing twice is harmless. Header only.
#ifndef BERTH_BASE_LIST_H
#define BERTH_BASE_LIST_H

#include "fs/base/check.h"
#include <stdbool.h>

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *node)
{
    node->prev = node->next = node;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

// Appends node, which must be unlinked, at the tail.
static inline void list_push(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

// Unlinks node and leaves it initialised.
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

// Removes and returns the first node, or NULL.
static inline struct list *list_pop(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *node = head->next;
    list_remove(node);
    return node;
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

// `it` is a struct list *. The _safe form allows removing `it` in the body.
// NOLINTBEGIN(bugprone-macro-parentheses): `it` and `after` are declared here
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, after, head) \
    for (struct list *it = (head)->next, *after = it->next; it != (head); it = after, after = it->next)
// NOLINTEND(bugprone-macro-parentheses)

#endif
