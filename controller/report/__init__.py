"""Reading a journal for people who must answer for what was done: the list of mutes, the figures, an incident's report.

From the file alone, or a copy of it: nothing here asks a running controller.
"""
