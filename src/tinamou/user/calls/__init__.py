"""System calls by topic.  Every module here is found by folder; a call is one typed function (see tinamou.user.syscall)."""
