"""Mutation by machine: each operator at each place of the modules that decide; the contract suite has to notice.

cosmic-ray and mutmut run a test command in the process, or against a copy of the tree, that holds the mutated module.
Here it has to be loaded by the services, which are processes of their own beside the suite that judges them; so the
mutants are made while Python loads a module, as those of the catalogue are.
"""
