"""Other trainers: ``trl`` and ``verl`` put the objectives and graders into them, one file each.

``diagnose`` names what is wrong with a run from its log and settings, ``conformance`` examines any
implementation of the two methods. TRL and verl are not imported here, nor anywhere else in the
package: import the one that you use.
"""
