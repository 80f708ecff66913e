# SPDX-License-Identifier: GPL-2.0-or-later
"""What failed builds failed of: the infrastructure, which is tried again, or the source.

May import: common.
"""
