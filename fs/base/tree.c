// SPDX-License-Identifier: Apache-2.0
// See tree.h. Invariant: the heights of two siblings differ by at most one, and every summary is that of its
// subtree.
#include "fs/base/tree.h"
#include "fs/base/check.h"

#define TOP ((uintptr_t)1)

static struct tree_node *parent_of(const struct tree_node *node)
{
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the lowest bit is a mark
    return node->up & TOP ? NULL : (struct tree_node *)node->up;
}

static bool is_right(const struct tree_node *parent, const struct tree_node *node)
{
    return parent->child[1] == node;
}

// Where the node hangs.
static struct tree_node **link_of(const struct tree_node *node)
{
    struct tree_node *parent = parent_of(node);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): as above
    return parent ? &parent->child[is_right(parent, node)] : &((struct tree *)(node->up & ~TOP))->root;
}

static int height_of(const struct tree_node *node)
{
    return node ? node->height : 0;
}

static void refresh(const struct tree_order *order, struct tree_node *node)
{
    node->height = 1 + MAX(height_of(node->child[0]), height_of(node->child[1]));
    if (order->refresh)
        order->refresh(node);
}

static void adopt(struct tree_node *parent, bool right, struct tree_node *child)
{
    parent->child[right] = child;
    if (child)
        child->up = (uintptr_t)parent;
}

// The child on the side `right` takes the place of `node`, which becomes its child. Returns it.
static struct tree_node *rotate(const struct tree_order *order, struct tree_node *node, bool right)
{
    struct tree_node *child = node->child[right];
    *link_of(node) = child;
    child->up = node->up;
    adopt(node, right, child->child[!right]);
    adopt(child, !right, node);
    refresh(order, node);
    refresh(order, child);
    return child;
}

// From node upward as far as heights change, or to the root, since all their summaries may.
static void rebalance(const struct tree_order *order, struct tree_node *node)
{
    for (; node; node = parent_of(node)) {
        int height = node->height;
        refresh(order, node);
        int lean = height_of(node->child[1]) - height_of(node->child[0]);
        if (lean >= -1 && lean <= 1) {
            if (node->height == height && !order->refresh)
                return;
            continue;
        }
        bool right = lean > 0;
        const struct tree_node *heavy = node->child[right];
        if (height_of(heavy->child[!right]) > height_of(heavy->child[right]))
            rotate(order, node->child[right], !right);
        node = rotate(order, node, right);
    }
}

void tree_insert(struct tree *tree, const struct tree_order *order, struct tree_node *node)
{
    struct tree_node **link = &tree->root, *parent = NULL;
    while (*link) {
        parent = *link;
        link = &parent->child[order->compare(node, parent) > 0];
    }
    *node = (struct tree_node){.up = parent ? (uintptr_t)parent : (uintptr_t)tree | TOP};
    *link = node;
    refresh(order, node);
    rebalance(order, parent);
}

// The node, which has two children, swaps its place with the next one in order.
static void swap_with_next(struct tree_node *node)
{
    struct tree_node *next = tree_next(node), *parent = parent_of(next), *below = next->child[1];
    struct tree_node *left = node->child[0], *right = node->child[1];
    *link_of(node) = next;
    next->up = node->up;
    next->height = node->height;
    adopt(next, false, left);
    if (parent == node) {
        adopt(next, true, node);
    } else {
        adopt(next, true, right);
        adopt(parent, false, node);
    }
    adopt(node, false, NULL);
    adopt(node, true, below);
}

void tree_remove(const struct tree_order *order, struct tree_node *node)
{
    if (node->child[0] && node->child[1])
        swap_with_next(node);
    struct tree_node *only = node->child[node->child[0] == NULL], *parent = parent_of(node);
    *link_of(node) = only;
    if (only)
        only->up = node->up;
    *node = (struct tree_node){.up = 0};
    rebalance(order, parent);
}

void tree_move(struct tree *to, struct tree *from)
{
    fs_assert(!to->root);
    to->root = from->root;
    from->root = NULL;
    if (to->root)
        to->root->up = (uintptr_t)to | TOP;
}

struct tree *tree_of(struct tree_node *node)
{
    while (!(node->up & TOP))
        node = parent_of(node);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): as above
    return (struct tree *)(node->up & ~TOP);
}

static struct tree_node *outermost(struct tree_node *node, bool right)
{
    while (node && node->child[right])
        node = node->child[right];
    return node;
}

struct tree_node *tree_first(const struct tree *tree)
{
    return outermost(tree->root, false);
}

struct tree_node *tree_last(const struct tree *tree)
{
    return outermost(tree->root, true);
}

static struct tree_node *neighbour(const struct tree_node *node, bool right)
{
    if (node->child[right])
        return outermost(node->child[right], !right);
    struct tree_node *parent = parent_of(node);
    while (parent && is_right(parent, node) == right) {
        node = parent;
        parent = parent_of(node);
    }
    return parent;
}

struct tree_node *tree_next(const struct tree_node *node)
{
    return neighbour(node, true);
}

struct tree_node *tree_previous(const struct tree_node *node)
{
    return neighbour(node, false);
}

struct tree_node *tree_seek(const struct tree *tree, const struct tree_order *order,
                            const struct tree_node *key)
{
    struct tree_node *found = NULL;
    for (struct tree_node *node = tree->root; node;) {
        bool before = order->compare(node, key) < 0;
        if (!before)
            found = node;
        node = node->child[before];
    }
    return found;
}
