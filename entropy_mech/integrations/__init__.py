"""The objectives and graders inside other trainers: ``trl`` and ``verl``, one file each.

Neither is imported here, nor anywhere else in the package: import the one that you use.
"""
