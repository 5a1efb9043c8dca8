"""Certification: attack a domain's verifier, and say with a certificate whether a model may be trained on its rewards.

`attack_answers` makes the answers, `attack_trial` has them judged in processes that can be killed, `certificate` holds the
result and decides, `code_version` names the code that was attacked, `shipped` reads the certificates of the domains that
come with Everlearn.
"""
