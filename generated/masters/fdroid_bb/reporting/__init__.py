# SPDX-License-Identifier: GPL-2.0-or-later
"""To whom it is told how builds ended, and that a worker cannot start.

May import: common, machines.
"""
