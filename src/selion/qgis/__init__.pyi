from .install import PLUGIN as PLUGIN
from .install import find_profile as find_profile
from .install import install_plugin as install_plugin
from .install import plugin_folder as plugin_folder
from .package import Links as Links
from .package import package_plugin as package_plugin
from .styles import write_style as write_style
