"""Where the contenders meet: one server, rounds in turn, processes of their own."""
