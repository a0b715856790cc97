// SPDX-License-Identifier: Apache-2.0
// Intrusive balanced tree (AVL) in an order that its owner gives. The tree owns no nodes. One owner thread.
//
// A node is removed without naming its tree, so a tree can be moved as a whole. Nodes may carry a summary of
// what lies below them; `refresh` brings it up to date from the node itself and its two children.
#ifndef BERTH_BASE_TREE_H
#define BERTH_BASE_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct tree_node {
    uintptr_t up; // the parent; at the top the tree, with the lowest bit set
    struct tree_node *child[2];
    int height;
};

// All zero: empty.
struct tree {
    struct tree_node *root;
};

struct tree_order {
    int (*compare)(const struct tree_node *a, const struct tree_node *b); // <0, 0, >0; no two are equal
    void (*refresh)(struct tree_node *node);                              // or NULL
};

void tree_insert(struct tree *tree, const struct tree_order *order, struct tree_node *node);
void tree_remove(const struct tree_order *order, struct tree_node *node);
void tree_move(struct tree *to, struct tree *from); // `to` must be empty; `from` is then

struct tree *tree_of(struct tree_node *node); // that the node is in
struct tree_node *tree_first(const struct tree *tree);
struct tree_node *tree_last(const struct tree *tree);
struct tree_node *tree_next(const struct tree_node *node);
struct tree_node *tree_previous(const struct tree_node *node);
// The first that does not come before `key`, a node outside of the tree with what compare() looks at.
struct tree_node *tree_seek(const struct tree *tree, const struct tree_order *order,
                            const struct tree_node *key);

#endif
