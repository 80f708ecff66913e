# SPDX-License-Identifier: GPL-2.0-or-later
"""The master itself: which configuration it has loaded, whether all of it works, what its log
shows, and repairs of how Buildbot loads another one and of how it goes on after a crash.

May import: common, machines.
"""
