"""The frozen base, its adapters, its attention, and what is packed for it."""

import logging

# It tells of a cast at every product, and where it is installed but not used, of a kernel that it did not find.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
