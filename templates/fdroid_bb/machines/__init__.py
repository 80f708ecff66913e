# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent workers: virtual machines by Vagrant, and which workers cannot start, and why.

May import: common.
"""
