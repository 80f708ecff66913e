# SPDX-License-Identifier: GPL-2.0-or-later
"""From a change, a person or the time to a request: what is submitted, which changes are one
request, who is due.

May import: common, machines.
"""
