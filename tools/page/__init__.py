"""The contract as one HTML page that needs nothing else: no network, no other file, no program but a browser.

An installed wheel has it as ordersys/api/contract.html. It brings its own Content-Security-Policy, by hashes; whoever
serves it adds none that is stricter: `default-src 'self'` in a header would forbid its style and its script.
"""
