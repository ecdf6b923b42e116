"""python -m latlas"""

from latlas.cli import main

main()
