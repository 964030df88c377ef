"""Encoders of every family behind four calls: embed, place, encode, predict; transformers' classes live only here."""
