"""Fuzzers, and what they found. (`targets` is apart: what it imports has to be instrumented first.)"""
