# SPDX-License-Identifier: GPL-2.0-or-later
"""What more than one room needs: files for others to read, commands and what they say,
application ids, an app's place in an interval.

May import: no room.
"""
