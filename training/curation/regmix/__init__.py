"""RegMix (paper 3.4): which share of the training tokens each language gets, from many tiny runs and a regression. README.md has the commands.

mixtures.py    runs' mixtures, drawn around the raw shares within bounds      -> proxies.py     a tiny model a mixture, trained for real
regression.py  mixture -> loss, a regressor a language, judged on unseen runs -> search.py      the mixture with the best predicted losses
"""
