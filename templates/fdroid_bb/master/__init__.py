# SPDX-License-Identifier: GPL-2.0-or-later
"""The master itself: which configuration it has loaded, whether all of it works, and mends to how
it loads another.

May import: common, machines.
"""
