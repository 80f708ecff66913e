# SPDX-License-Identifier: GPL-2.0-or-later
"""What builds do beside commands on a worker: check properties, copy files with their sums, save
logs, run commands on the master's machine, run them again, set properties, be skipped.

May import: common.
"""
