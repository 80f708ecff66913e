# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the sources of the apps have changed: which repository is asked when, what its answer
means, and the list of those that fail.

May import: common.
"""
