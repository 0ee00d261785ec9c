"""The proxies that are compared, one file each. Each has the same job: /fhir to /apis/default/fhir over TLS with verification and kept
connections, the access token in place of the client's Authorization, and one access line a request in a file.
"""
