"""The server: API, queue and page over the run folders. It holds no model and no state but connections.

home, admission      which folders there are, and what may be asked for over HTTP
helper               a process that knows the plug-ins: describes, checks, previews
services             what page, API and ModelForge's routes all call; plain functions on files
api, openai, modelforge, pages     thin: HTTP in, a service, HTTP out
security             who may ask at all
"""
