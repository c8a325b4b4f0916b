"""The page: HTML rendered here, from the same services as the API. A file is a screen; `router` is what it adds.

layout     what all screens share: templates, theme, files, how a refusal looks
"""
