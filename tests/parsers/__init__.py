"""The contract as other parsers than ours read it, in the form in which strangers take it: the folder contract/."""
