#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What does not hold is printed with its line; the exit status tells how many. */
static int failures;
#define CHECK(x) do { if (!(x)) { failures++; \
    dprintf(2, "%s:%d: %s (errno %d)\n", __FILE_NAME__, __LINE__, #x, errno); } } while (0)
#define EQUAL(a, b) do { long long a_ = (a), b_ = (b); if (a_ != b_) { failures++; \
    dprintf(2, "%s:%d: %s is %lld, not %lld (errno %d)\n", __FILE_NAME__, __LINE__, #a, a_, b_, errno); } } while (0)
