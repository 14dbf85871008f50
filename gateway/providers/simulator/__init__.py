"""The scripted provider: answers, delays and faults on demand over a real socket, in OpenAI's and Anthropic's words."""

from gateway.providers.simulator.behaviour import WORDS as WORDS
from gateway.providers.simulator.behaviour import Behaviour as Behaviour
from gateway.providers.simulator.journal import Account as Account
from gateway.providers.simulator.journal import Entry as Entry
from gateway.providers.simulator.running import run as run
from gateway.providers.simulator.script import Script as Script
from gateway.providers.simulator.script import ScriptError as ScriptError
from gateway.providers.simulator.server import Simulator as Simulator
