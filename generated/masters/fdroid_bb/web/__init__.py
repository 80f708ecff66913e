# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may log in, and the pages that are shown: of all apps, and of each.

May import: common, polling.
"""
