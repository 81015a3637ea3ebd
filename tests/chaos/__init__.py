"""Real processes, a real server and a proxy that misbehaves, judged by what the processes logged."""
