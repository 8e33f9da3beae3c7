"""Turns predictions into a choice by the spec's policy."""
