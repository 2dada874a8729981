"""Makes and shows the identities of a system: an authority, certificates of services, tokens of people.

For those who start services by hand (`python -m ordersys.identity`), and for whatever starts the whole system. What is
made here is verified elsewhere: by the services, by RabbitMQ, by clients, and by any other tool for X.509 and JWT.
"""
